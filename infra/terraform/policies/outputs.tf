# Every policy document, rendered. This module needs no provider: `terraform plan` here shows what
# would be deployed, offline, and tests render the same templates for an S3 server that obeys them.

locals {
  root_arn = "arn:${var.partition}:iam::${var.account_id}:root"

  # Days that remain are counted at the server, when the request arrives.
  least_days = tostring(var.retention_days - 1)
  most_days  = tostring(var.retention_days_max)

  signing = {
    ECC_NIST_EDWARDS25519 = { algorithm = "ED25519_SHA_512", message_type = "RAW" }
    ECC_NIST_P256         = { algorithm = "ECDSA_SHA_256", message_type = "DIGEST" }
  }

  writer_principals = {
    for kind, names in { AWS = var.writer_trust.arns, Service = var.writer_trust.services } : kind => names if length(names) > 0
  }
}

output "archive_bucket" {
  description = "Policy of the archive's bucket."
  value = templatefile("${path.module}/archive-bucket.json.tftpl", {
    archive_arn     = var.archive_arn
    prefix          = var.prefix
    deployer_arn    = var.deployer_arn
    writer_arn      = var.writer_arn
    audit_admin_arn = var.audit_admin_arn
    archive_key_arn = var.archive_key_arn
    least_days      = local.least_days
    most_days       = local.most_days
  })
}

output "replica_bucket" {
  description = "Policy of the replica's bucket."
  value = templatefile("${path.module}/replica-bucket.json.tftpl", {
    replica_arn     = var.replica_arn
    deployer_arn    = var.deployer_arn
    audit_admin_arn = var.audit_admin_arn
    replication_arn = var.replication_arn
  })
}

output "writer" {
  description = "What the workers may do."
  value = templatefile("${path.module}/writer.json.tftpl", {
    archive_arn     = var.archive_arn
    prefix          = var.prefix
    region          = var.region
    archive_key_arn = var.archive_key_arn
    signing_key_arn = var.signing_key_arn
  })
}

output "auditor" {
  description = "What who verifies may do."
  value = templatefile("${path.module}/auditor.json.tftpl", {
    archive_arn     = var.archive_arn
    replica_arn     = var.replica_arn
    prefix          = var.prefix
    region          = var.region
    replica_region  = var.replica_region
    archive_key_arn = var.archive_key_arn
    replica_key_arn = var.replica_key_arn
    signing_key_arn = var.signing_key_arn
  })
}

output "audit_admin" {
  description = "What who releases legal holds may do."
  value = templatefile("${path.module}/audit-admin.json.tftpl", {
    archive_arn     = var.archive_arn
    replica_arn     = var.replica_arn
    prefix          = var.prefix
    region          = var.region
    replica_region  = var.replica_region
    archive_key_arn = var.archive_key_arn
    replica_key_arn = var.replica_key_arn
  })
}

output "replication" {
  description = "What S3 may do to replicate."
  value = templatefile("${path.module}/replication.json.tftpl", {
    archive_arn     = var.archive_arn
    replica_arn     = var.replica_arn
    prefix          = var.prefix
    region          = var.region
    replica_region  = var.replica_region
    archive_key_arn = var.archive_key_arn
    replica_key_arn = var.replica_key_arn
  })
}

output "archive_key" {
  description = "Policy of the key the archive is encrypted with."
  value = templatefile("${path.module}/archive-key.json.tftpl", {
    account_id      = var.account_id
    root_arn        = local.root_arn
    region          = var.region
    deployer_arn    = var.deployer_arn
    writer_arn      = var.writer_arn
    auditor_arn     = var.auditor_arn
    audit_admin_arn = var.audit_admin_arn
    replication_arn = var.replication_arn
  })
}

output "replica_key" {
  description = "Policy of the key the replica is encrypted with."
  value = templatefile("${path.module}/replica-key.json.tftpl", {
    account_id      = var.account_id
    root_arn        = local.root_arn
    replica_region  = var.replica_region
    deployer_arn    = var.deployer_arn
    auditor_arn     = var.auditor_arn
    audit_admin_arn = var.audit_admin_arn
    replication_arn = var.replication_arn
  })
}

output "signing_key" {
  description = "Policy of the key checkpoints are signed with."
  value = templatefile("${path.module}/signing-key.json.tftpl", {
    root_arn          = local.root_arn
    deployer_arn      = var.deployer_arn
    writer_arn        = var.writer_arn
    auditor_arn       = var.auditor_arn
    message_type      = local.signing[var.signing_key_spec].message_type
    signing_algorithm = local.signing[var.signing_key_spec].algorithm
  })
}

output "writer_trust" {
  description = "Who may be the writer."
  value       = templatefile("${path.module}/trust.json.tftpl", { principals = jsonencode(local.writer_principals) })
}

output "auditor_trust" {
  description = "Who may be the auditor."
  value       = templatefile("${path.module}/trust.json.tftpl", { principals = jsonencode({ AWS = var.auditor_arns }) })
}

output "audit_admin_trust" {
  description = "Who may be the audit admin. Sessions of a role do not say whether MFA was used: it is asked for here, or nowhere."
  value       = templatefile("${path.module}/trust-with-mfa.json.tftpl", { principals = jsonencode({ AWS = var.audit_admin_arns }) })
}

output "replication_trust" {
  description = "S3 itself."
  value       = templatefile("${path.module}/trust.json.tftpl", { principals = jsonencode({ Service = ["s3.amazonaws.com"] }) })
}
