/**
 * The catalog's tables as they are now (after the last migration). Columns hold text, integers (ms since the epoch, bytes,
 * 0 or 1) and JSON as text, so that the same queries run on another database later. Keys are text.
 */
import type { JobStatus, PointConsistency } from '#domain'
import type { Generated } from 'kysely'
import type { BackupJobTable, ProtectedItemTable, VaultAlertTable, VaultPointTable } from './vault-schema.ts'

export type MachineTable = {
  /** SMBIOS UUID. */
  id: string
  name: string
  driver: string
  /** Where the hypervisor finds it: a QMP socket or a libvirt domain. Never a secret. */
  location: string
  protected: number
  description: string | null
  seen_ms: number
}

export type RepositoryTable = {
  id: string
  /** A path or URL without a secret. */
  location: string
  added_ms: number
  listed_ms: number | null
}

export type RecoveryPointTable = {
  repository_id: string
  id: string
  machine_id: string
  machine_name: string
  taken_at_ms: number
  sequence: number
  consistency: PointConsistency
  expires_at_ms: number | null
  legal_hold: number
  disks: string
}

export type JobTable = {
  id: string
  /** Order of creation in this catalog. */
  sequence: Generated<number>
  name: string
  version: number
  /** Behaviour flags that held when it was created: JSON array of numbers. */
  flags: string
  queue: string
  /** Jobs with the same key share the queue's limit per key: a machine's id, for example. */
  key: string | null
  priority: number
  parent: string | null
  depth: number
  status: JobStatus
  input: string
  output: string | null
  error: string | null
  progress: string | null
  owner: string | null
  lease_ms: number | null
  epoch: number
  /** When it may next be picked up; null: only a wake-up makes it due. */
  due_ms: number | null
  /** Counts wake-ups (signal, child's end, cancel), so that none is lost between looking and going to sleep. */
  wake: number
  cancel_ms: number | null
  cancel_reason: string | null
  created_ms: number
  started_ms: number | null
  finished_ms: number | null
}

export type StepKind = 'step' | 'cleanup' | 'sleep' | 'signal' | 'child'
export type StepStatus = 'running' | 'retrying' | 'succeeded' | 'failed' | 'cancelled' | 'interrupted'

export type JobStepTable = {
  job_id: string
  name: string
  position: number
  kind: StepKind
  status: StepStatus
  epoch: number
  /** How often it was begun, how often it threw, how often its process died under it. */
  attempts: number
  failures: number
  crashes: number
  due_ms: number | null
  output: string | null
  error: string | null
  started_ms: number
  finished_ms: number | null
}

export type JobSignalTable = {
  sequence: Generated<number>
  job_id: string
  name: string
  payload: string
  sent_ms: number
  /** The step that took it. */
  taken_by: string | null
}

export type JobEventTable = {
  sequence: Generated<number>
  job_id: string
  at_ms: number
  kind: string
  facts: string
}

export type JobOwnerTable = {
  id: string
  boot_id: string
  pid_namespace: string
  pid: number
  start_ticks: string
  seen_ms: number
}

export type JobScheduleTable = {
  name: string
  cron: string
  time_zone: string
  job_name: string
  input: string
  queue: string
  key: string | null
  catch_up: 'once' | 'skip'
  next_ms: number | null
  last_slot_ms: number | null
  last_job_id: string | null
  skipped: number
}

export type SettingTable = { name: string; value: string }

/** A resource of the Azure face. Keys are ids in lower case. */
export type ResourceTable = {
  key: string
  id: string
  subscription: string
  /** Key of its resource group; empty for what stands outside groups. */
  group_key: string
  type_key: string
  type: string
  name: string
  /** Key of the resource that it is a child of. */
  parent_key: string | null
  location: string | null
  /** JSON object. */
  tags: string
  /** provisioningState */
  state: string
  etag: string
  /** JSON: the rest of the resource as the API shows it (sku, properties, ...). */
  body: string
  /** JSON: what stands behind it (files, repository points); never shown, never a secret. */
  backing: string
  created_ms: number
  changed_ms: number
}

/** A long-running operation. How it goes is what its job says: the job has the operation's id. */
export type OperationTable = {
  id: string
  /** The word in its URL: `DiskOperations`, `operations`. */
  kind: string
  subscription: string
  location: string
  resource_key: string
  action: string
  principal: string
  /** Digest of what was asked for: the same request while it runs gets the same operation. */
  request: string
  /** JSON: how the Location URL answers once it has succeeded. */
  reply: string
  job: string
  job_input: string
  queue: string
  job_key: string | null
  created_ms: number
}

export type ActivityTable = {
  sequence: Generated<number>
  id: string
  at_ms: number
  correlation: string
  caller: string
  action: string
  resource_key: string
  resource: string
  status: string
  http_status: number
  operation: string | null
  facts: string
}

export type PrincipalTable = { id: string; client_id: string; name: string; created_ms: number }

export type PrincipalCredentialTable = {
  id: string
  principal: string
  kind: 'secret' | 'certificate'
  /** SHA-256 of a random secret, or a public key: nothing from which to log in. */
  verifier: string
  hint: string
  created_ms: number
  expires_ms: number | null
}

export type RoleAssignmentTable = {
  key: string
  name: string
  scope: string
  scope_key: string
  /** GUID of the role definition. */
  role: string
  principal: string
  principal_type: string
  description: string | null
  created_ms: number
  created_by: string
}

export type RegionTable = {
  name: string
  display_name: string
  pair: string | null
  geography: string
  created_ms: number
}
export type PoolTable = {
  region: string
  name: string
  path: string
  /** A host elsewhere, of the same region; null: this one. */
  host: string | null
  reserve_bytes: number
  created_ms: number
}
export type StoreTable = {
  region: string
  name: string
  location: string
  repository_id: string | null
  created_ms: number
  /** 1: hosts elsewhere see the same folder at this path. */
  shared: number
  /** Of how many parts, each of which may fail alone, what it holds is spread. */
  failure_domains: number
}
export type HostTable = {
  region: string
  name: string
  driver: string
  address: string
  limits: string
  created_ms: number
}

export type LinkTable = {
  /** Of the other server: what it is known by. */
  subscription: string
  endpoint: string
  /** PEM of the authority that its certificate is checked against. */
  authority: string
  /** JSON Web Key. */
  public_key: string
  /** GUID of the role that its principals have here at most. */
  role: string
  /** GUID of the role that ours have there at most. */
  granted: string | null
  /** JSON: its regions as it last told them. */
  regions: string
  state: 'joining' | 'linked'
  created_ms: number
  seen_ms: number | null
}
export type LinkInvitationTable = {
  /** SHA-256 of a random secret. */
  verifier: string
  role: string
  created_ms: number
  expires_ms: number
  /** Subscription of the server that came with it. */
  used_by: string | null
}

/** What a host elsewhere is let in by. */
export type HostLinkTable = {
  region: string
  name: string
  /** SHA-256 of the secret of its join token; null: no token holds. */
  join_hash: string | null
  join_expires_ms: number | null
  /** SHA-256 of the public key that the token was used for. */
  join_key: string | null
  /** JSON: SHA-256 of the certificates that are let in. */
  certificates: string
  seen_ms: number | null
  /** JSON: what its worker said of itself. */
  facts: string
}

export type CatalogSchema = {
  setting: SettingTable
  resource: ResourceTable
  operation: OperationTable
  activity: ActivityTable
  principal: PrincipalTable
  principal_credential: PrincipalCredentialTable
  role_assignment: RoleAssignmentTable
  region: RegionTable
  pool: PoolTable
  store: StoreTable
  host: HostTable
  link: LinkTable
  link_invitation: LinkInvitationTable
  host_link: HostLinkTable
  protected_item: ProtectedItemTable
  vault_point: VaultPointTable
  backup_job: BackupJobTable
  vault_alert: VaultAlertTable
  machine: MachineTable
  repository: RepositoryTable
  recovery_point: RecoveryPointTable
  job: JobTable
  job_step: JobStepTable
  job_signal: JobSignalTable
  job_event: JobEventTable
  job_owner: JobOwnerTable
  job_schedule: JobScheduleTable
}
