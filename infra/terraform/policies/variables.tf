# Names and numbers the policy documents are about. Roles and keys are given by their ARN, each on
# its own, so that a key policy may name roles and a role's policy may name keys.

variable "archive_arn" {
  description = "ARN of the archive's bucket."
  type        = string
}

variable "replica_arn" {
  description = "ARN of the replica's bucket."
  type        = string
}

variable "prefix" {
  description = "Prefix of the archive in both buckets, without slashes at its ends."
  type        = string

  validation {
    condition     = can(regex("^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*$", var.prefix))
    error_message = "prefix must be one or more names of A-Z a-z 0-9 . _ -, with slashes between them only."
  }
}

variable "region" {
  description = "Region of the archive's bucket and of its keys."
  type        = string
}

variable "replica_region" {
  description = "Region of the replica."
  type        = string
}

variable "account_id" {
  description = "The account all of it is in."
  type        = string

  validation {
    condition     = can(regex("^[0-9]{12}$", var.account_id))
    error_message = "account_id must be twelve digits."
  }
}

variable "partition" {
  description = "First part of ARNs: aws, aws-us-gov."
  type        = string
  default     = "aws"
}

variable "retention_days" {
  description = "ATTESTREAM_RETENTION_DAYS: for how long every object is locked."
  type        = number

  validation {
    condition     = var.retention_days >= 365 && var.retention_days <= 36500 && floor(var.retention_days) == var.retention_days
    error_message = "retention_days must be a whole number from 365 to 36500."
  }
}

variable "retention_days_max" {
  description = "Longest lock anybody may set: nobody can end one that is too long."
  type        = number

  validation {
    condition     = var.retention_days_max >= var.retention_days
    error_message = "retention_days_max must not be below retention_days."
  }
}

variable "signing_key_spec" {
  description = "Spec of the signing key."
  type        = string

  validation {
    condition     = contains(["ECC_NIST_EDWARDS25519", "ECC_NIST_P256"], var.signing_key_spec)
    error_message = "signing_key_spec must be ECC_NIST_EDWARDS25519 or ECC_NIST_P256: no other key signs checkpoints."
  }
}

variable "deployer_arn" {
  description = "The role that runs Terraform."
  type        = string

  validation {
    condition     = can(regex("^arn:[a-z-]+:iam::[0-9]{12}:(role|user)/[^*?]+$", var.deployer_arn))
    error_message = "deployer_arn must be the ARN of one role or user, without wildcards (a role's own ARN, not that of a session)."
  }
}

variable "writer_arn" {
  description = "The role of the workers."
  type        = string
}

variable "auditor_arn" {
  description = "The role of who verifies."
  type        = string
}

variable "audit_admin_arn" {
  description = "The role that releases legal holds."
  type        = string
}

variable "replication_arn" {
  description = "The role S3 replicates as."
  type        = string
}

variable "archive_key_arn" {
  description = "The key the archive is encrypted with."
  type        = string
}

variable "replica_key_arn" {
  description = "The key the replica is encrypted with."
  type        = string
}

variable "signing_key_arn" {
  description = "The key checkpoints are signed with."
  type        = string
}

variable "writer_trust" {
  description = "Who may be the writer: ARNs, and AWS services (ec2.amazonaws.com)."
  type        = object({ arns = optional(list(string), []), services = optional(list(string), []) })

  validation {
    condition     = length(var.writer_trust.arns) + length(var.writer_trust.services) > 0
    error_message = "writer_trust must name somebody."
  }

  validation {
    condition     = alltrue([for name in concat(var.writer_trust.arns, var.writer_trust.services) : !strcontains(name, "*")])
    error_message = "writer_trust must not have wildcards."
  }
}

variable "auditor_arns" {
  description = "Who may be the auditor."
  type        = list(string)

  validation {
    condition     = length(var.auditor_arns) > 0 && alltrue([for arn in var.auditor_arns : can(regex("^arn:[^*]+$", arn))])
    error_message = "auditor_arns must name somebody, by ARNs without wildcards."
  }
}

variable "audit_admin_arns" {
  description = "Who may be the audit admin, with MFA."
  type        = list(string)

  validation {
    condition     = length(var.audit_admin_arns) > 0 && alltrue([for arn in var.audit_admin_arns : can(regex("^arn:[^*]+$", arn))])
    error_message = "audit_admin_arns must name somebody, by ARNs without wildcards."
  }
}
