output "settings" {
  description = "Environment of every worker, besides Kafka's and the name of the logs."
  value = {
    ATTESTREAM_ARCHIVE        = "s3://${aws_s3_bucket.archive.bucket}/${var.prefix}"
    ATTESTREAM_RETENTION_DAYS = tostring(var.retention_days)
    ATTESTREAM_SIGNERS        = "kms"
    AUDIT_SIGNING_KMS_KEY_ID  = aws_kms_key.signing.arn
    S3_REGION                 = data.aws_region.archive.region
    S3_SSE_KMS_KEY_ID         = aws_kms_key.archive.arn
  }
}

output "replica" {
  description = "Address of the replica, for verify."
  value       = "s3://${aws_s3_bucket.replica.bucket}/${var.prefix}"
}

output "replica_region" {
  description = "S3_REGION when the replica is read."
  value       = data.aws_region.replica.region
}

output "role_arns" {
  description = "The role of each kind of user."
  value = {
    writer      = aws_iam_role.writer.arn
    auditor     = aws_iam_role.auditor.arn
    audit_admin = aws_iam_role.audit_admin.arn
  }
}
