# The roles. What each may do is in policies/, and is given after the keys are there.

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

data "aws_region" "archive" {}

data "aws_region" "replica" {
  provider = aws.replica
}

module "policies" {
  source = "./policies"

  account_id         = data.aws_caller_identity.current.account_id
  partition          = data.aws_partition.current.partition
  region             = data.aws_region.archive.region
  replica_region     = data.aws_region.replica.region
  archive_arn        = "arn:${data.aws_partition.current.partition}:s3:::${var.name}"
  replica_arn        = "arn:${data.aws_partition.current.partition}:s3:::${var.name}-replica"
  prefix             = var.prefix
  retention_days     = var.retention_days
  retention_days_max = var.retention_days_max
  signing_key_spec   = var.signing_key_spec
  deployer_arn       = var.deployer_arn
  writer_arn         = aws_iam_role.writer.arn
  auditor_arn        = aws_iam_role.auditor.arn
  audit_admin_arn    = aws_iam_role.audit_admin.arn
  replication_arn    = aws_iam_role.replication.arn
  archive_key_arn    = aws_kms_key.archive.arn
  replica_key_arn    = aws_kms_key.replica.arn
  signing_key_arn    = aws_kms_key.signing.arn
  writer_trust       = var.writer_trust
  auditor_arns       = var.auditor_arns
  audit_admin_arns   = var.audit_admin_arns
}

resource "aws_iam_role" "writer" {
  name               = "${var.name}-writer"
  description        = "Workers: put, lock, hold, read back, sign. Never delete."
  assume_role_policy = module.policies.writer_trust
  tags               = var.tags
}

resource "aws_iam_role_policy" "writer" {
  name   = "write"
  role   = aws_iam_role.writer.id
  policy = module.policies.writer
}

resource "aws_iam_role" "auditor" {
  name               = "${var.name}-auditor"
  description        = "Verifies: reads the archive and its replica."
  assume_role_policy = module.policies.auditor_trust
  tags               = var.tags
}

resource "aws_iam_role_policy" "auditor" {
  name   = "read"
  role   = aws_iam_role.auditor.id
  policy = module.policies.auditor
}

resource "aws_iam_role" "audit_admin" {
  name                 = "${var.name}-audit-admin"
  description          = "Puts and releases legal holds, with MFA. Never bypasses, never deletes."
  assume_role_policy   = module.policies.audit_admin_trust
  max_session_duration = 3600
  tags                 = var.tags
}

resource "aws_iam_role_policy" "audit_admin" {
  name   = "hold"
  role   = aws_iam_role.audit_admin.id
  policy = module.policies.audit_admin
}

resource "aws_iam_role" "replication" {
  name               = "${var.name}-replication"
  description        = "S3 replicates as this role."
  assume_role_policy = module.policies.replication_trust
  tags               = var.tags
}

resource "aws_iam_role_policy" "replication" {
  name   = "replicate"
  role   = aws_iam_role.replication.id
  policy = module.policies.replication
}
