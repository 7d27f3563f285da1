/**
 * What went wrong with a vault's job, in Azure's codes where it has one for the matter, with what a user is to do about it. Codes that
 * Azure has no word for stay our own: each has its entry in docs/errors.md.
 */
import type { ErrorShape } from '#base'
import type { BackupJobError } from '#domain'

type Words = Readonly<{ code?: string; title: string; recommendations: readonly string[] }>

const MACHINE_STATE: Words = {
  code: 'UserErrorVmNotInDesirableState',
  title: 'The machine was not in a state in which it can be backed up.',
  recommendations: ['Wait until what is being done to the machine has ended, then back it up again.'],
}
const NOT_THERE: Words = {
  code: 'UserErrorVmNotFoundV2',
  title: 'The machine is not there any more.',
  recommendations: [
    'Its recovery points stay, and can be restored.',
    'Stop protection of the item, keeping or deleting its data, if the machine will not come back under this name.',
  ],
}
const SNAPSHOT: Words = {
  code: 'UserErrorVMSnapshotFailed',
  title: 'No instant of the machine could be taken or kept.',
  recommendations: [
    'Try again. If it goes on: see the log of the host, and that the file system that holds the home has free space.',
  ],
}
const STORE: Words = {
  title: 'The vault’s store could not be used.',
  recommendations: ['See "holdfast doctor", and that the store is reachable, writable, and has free space.'],
}

const AGENT: Words = {
  code: 'UserErrorGuestAgentStatusUnavailable',
  title: 'The recovery point is crash-consistent: the guest could not be asked to hold still.',
  recommendations: ['See that the guest agent (qemu-guest-agent) is installed in the guest and runs.'],
}
const SCRIPT: Words = {
  title: 'A script of the guest did not do its work: the recovery point is less consistent than asked for.',
  recommendations: ['See docs/guests.md for the code, and the log of the script in the guest.'],
}

const WORDS: Readonly<Record<string, Words>> = {
  freeze_failed: {
    code: 'UserErrorFsFreezeFailed',
    title: 'The guest’s file systems could not be frozen.',
    recommendations: ['See that the guest agent runs and that no file system of the guest hangs.'],
  },
  agent_unavailable: AGENT,
  no_agent_channel: AGENT,
  agent_runs_no_programs: AGENT,
  machine_not_there: NOT_THERE,
  machine_not_found: NOT_THERE,
  vm_not_in_desirable_state: MACHINE_STATE,
  disk_in_use: MACHINE_STATE,
  machine_state_conflict: MACHINE_STATE,
  qmp_unreachable: SNAPSHOT,
  qmp_busy: SNAPSHOT,
  qmp_disconnected: SNAPSHOT,
  instant_open: SNAPSHOT,
  instant_broken: {
    code: 'UserErrorVMSnapshotFailed',
    title: 'The instant broke before its bytes were stored: the guest wrote more than could be held back.',
    recommendations: [
      'Free space on the file system that holds the home: what the guest overwrites meanwhile is kept there.',
      'Back up at a time at which the machine writes less.',
    ],
  },
  instant_failed: SNAPSHOT,
  disk_unsupported: {
    code: 'UserErrorUnsupportedDiskConfiguration',
    title: 'A disk of the machine cannot be backed up as it is.',
    recommendations: ['Leave the disk out of the backup (selective disk backup), or make it a raw or qcow2 image.'],
  },
  store_full: {
    title: 'The vault’s store is full.',
    recommendations: ['Free or add space there.', 'Shorten the retention of the policy: space is freed by night.'],
  },
  store_unavailable: STORE,
  store_read_only: STORE,
  region_without_store: STORE,
  store_not_shared: STORE,
  host_away: {
    title: 'The host of the machine is not connected.',
    recommendations: ['See "holdfast host list". The backup goes on by itself once the host is back.'],
  },
  point_locked: {
    code: 'UserErrorOperationNotAllowedOnImmutableVault',
    title: 'The vault is immutable: its recovery points cannot be deleted before their time.',
    recommendations: ['Wait until the point’s lock has ended.'],
  },
}

const OTHER: Words = {
  title: 'The operation failed.',
  recommendations: [
    'Try again. If it goes on, send what "holdfast support-bundle" makes to who looks after the server.',
  ],
}

/** A guest that could not be made quiet says why by a code of its own. */
function codeOf({ code, facts }: ErrorShape): string {
  const { reason } = facts
  return code === 'quiesce_failed' && typeof reason === 'string' ? reason : code
}

export function backupErrorOf(shape: ErrorShape): BackupJobError {
  const { message, hint } = shape
  const code = codeOf(shape)
  const { code: azures = code, title, recommendations } = WORDS[code] ?? (code.includes('Script') ? SCRIPT : OTHER)
  return {
    code: azures,
    title,
    message,
    recommendations:
      hint === undefined || recommendations.includes(hint) ? recommendations : [hint, ...recommendations],
  }
}
