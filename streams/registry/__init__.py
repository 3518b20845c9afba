"""Schema registries: what a producer's schema id or GUID stands for.

`port` says what is asked, `confluent` is the client of the API that Confluent, Karapace, Redpanda
and Apicurio serve, `opening` chooses it by the settings. What is done with an answer, and why a
registry is asked once only: `projections.schema_answers`.
"""
