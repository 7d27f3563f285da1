/** The catalog's tables of vaults: what they protect, what they hold, what was done. A part of `schema.ts`, whose words hold here too. */
import type { BackupJobStatus, BackupOperation, PointConsistency, ProtectionState } from '#domain'

/** A machine that a vault protects. Keys are ids in lower case. */
export type ProtectedItemTable = {
  key: string
  id: string
  vault_key: string
  name: string
  machine_id: string
  machine_key: string
  friendly_name: string
  state: ProtectionState
  policy_key: string | null
  policy_id: string | null
  next_due_ms: number | null
  slot_ms: number | null
  /** JSON. */
  exclusion: string | null
  last_backup_ms: number | null
  last_backup_status: string | null
  soft_deleted_ms: number | null
  purge_at_ms: number | null
  group_name: string | null
  /** JSON object. */
  facts: string
  created_ms: number
  changed_ms: number
}

export type VaultPointTable = {
  item_key: string
  name: string
  vault_key: string
  point_id: string
  taken_ms: number
  sequence: number
  consistency: PointConsistency
  /** JSON. */
  landed: string | null
  slot_ms: number | null
  instant_until_ms: number | null
  vaulted_ms: number | null
  mirrored_ms: number | null
  expires_ms: number | null
  kept_until_ms: number | null
  on_demand: number
  /** JSON array of the names of rules. */
  kept_by: string
  soft_deleted_ms: number | null
  purge_at_ms: number | null
  size_bytes: number
  stored_bytes: number
  disks: string
  facts: string
}

export type BackupJobTable = {
  /** Of the operation and of the job that does it, too. */
  id: string
  vault_key: string
  item_key: string | null
  entity_name: string
  operation: BackupOperation
  status: BackupJobStatus
  started_ms: number
  ended_ms: number | null
  user_triggered: number
  cancellable: number
  tasks: string
  properties: string
  errors: string
  done_bytes: number | null
  total_bytes: number | null
  result: string | null
}

export type VaultAlertTable = {
  id: string
  vault_key: string
  kind: string
  severity: string
  item_key: string | null
  message: string
  facts: string
  raised_ms: number
  resolved_ms: number | null
}
