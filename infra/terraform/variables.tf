variable "name" {
  description = "Name of the archive's bucket, and beginning of the names of roles, keys and the replica."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9-]{1,38}[a-z0-9]$", var.name))
    error_message = "name must be 3 to 40 characters of a-z 0-9 -."
  }
}

variable "prefix" {
  description = "Prefix of the archive in its bucket: ATTESTREAM_ARCHIVE is s3://name/prefix."
  type        = string
  default     = "log"
}

variable "retention_days" {
  description = "For how long every object is locked: ATTESTREAM_RETENTION_DAYS, and the bucket's default. Nobody can shorten a lock, you included."
  type        = number
  default     = 365

  validation {
    condition     = var.retention_days >= 365 && var.retention_days <= 36500 && floor(var.retention_days) == var.retention_days
    error_message = "retention_days must be a whole number from 365 to 36500."
  }
}

variable "retention_days_max" {
  description = "Longest lock anybody may set."
  type        = number
  default     = 3660
}

variable "signing_key_spec" {
  description = "Spec of the signing key: ECC_NIST_EDWARDS25519, or ECC_NIST_P256 where a region does not have the first."
  type        = string
  default     = "ECC_NIST_EDWARDS25519"
}

variable "deployer_arn" {
  description = "ARN of the role that runs Terraform: the only one that may configure the buckets and keys. It may neither delete, nor write, nor sign."
  type        = string
}

variable "writer_trust" {
  description = "Who may be the writer: ARNs of roles, and AWS services (ec2.amazonaws.com)."
  type        = object({ arns = optional(list(string), []), services = optional(list(string), []) })
}

variable "auditor_arns" {
  description = "ARNs of who may be the auditor; of other accounts too."
  type        = list(string)
}

variable "audit_admin_arns" {
  description = "ARNs of who may be the audit admin, with MFA."
  type        = list(string)
}

variable "tags" {
  description = "Tags of all of it."
  type        = map(string)
  default     = {}
}
