terraform {
  required_version = ">= 1.9"

  required_providers {
    aws = {
      source                = "hashicorp/aws"
      version               = ">= 6.22, < 7.0" # earlier ones do not know Ed25519 keys
      configuration_aliases = [aws.replica]
    }
  }
}
