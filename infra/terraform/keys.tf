# Three keys. Ending the archive's or the replica's would end what is encrypted with it: nobody may,
# until the deployer has changed the key's policy. What the signing key has signed stays valid
# without it: verifiers have its public half.

resource "aws_kms_key" "archive" {
  description             = "Encrypts ${var.name}"
  policy                  = module.policies.archive_key
  enable_key_rotation     = true
  deletion_window_in_days = 30
  tags                    = var.tags

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_kms_key" "replica" {
  provider                = aws.replica
  description             = "Encrypts ${var.name}-replica"
  policy                  = module.policies.replica_key
  enable_key_rotation     = true
  deletion_window_in_days = 30
  tags                    = var.tags

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_kms_key" "signing" {
  description              = "Signs checkpoints of ${var.name}"
  policy                   = module.policies.signing_key
  key_usage                = "SIGN_VERIFY"
  customer_master_key_spec = var.signing_key_spec
  deletion_window_in_days  = 30
  tags                     = var.tags

  lifecycle {
    prevent_destroy = true
  }
}
