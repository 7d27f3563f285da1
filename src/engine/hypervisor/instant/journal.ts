/**
 * The journal holds one record per open instant, and each step is written before it is done. The record carries the whole
 * plan, so that whoever finds it after a crash can undo every step without having seen it happen: cleaning up looks at
 * what QEMU has (dismantle.ts) and not at how far the owner came. The step says only what the guest may be suffering.
 *
 *   step        what a crash right after writing it leaves              what cleaning up does
 *   prepare     scratch files and nodes; maybe an NBD server            removes them
 *   quiesce     an application quieted by a script, that may still run  ends it, runs the post-script, then as prepare
 *   freeze      a guest that may be frozen                              thaws, then as prepare
 *   pause       a guest that may be paused, some drives on filters      continues, puts drives back, ...
 *   thaw        all drives on filters, the guest running but frozen     thaws, ...
 *   wake        a post-script that may not have run, or not to its end  runs it, ...
 *   open        an instant that nobody reads                            removes it; bitmaps by the log
 *   commit      the point is in the log                                 drops the previous bitmaps
 *   abort       the point will never be in the log                      merges the new bitmaps back
 *   dismantled  bitmaps only: the watchdog has cleaned up the rest      bitmaps by the log
 *
 * From `quiesce` on `postScript` says what is owed to the guest's application, in whatever step; it goes when it was run. Where
 * it cannot be, because the guest's agent is silent, a record of the step `dismantled` stays for it.
 *
 * A record that was removed means: nothing of that instant is left. Removal is last.
 * Files are whole or absent (runtime/durable-file); `.tmp-*` are leftovers of a crash in the middle of a write.
 */
import { readdir, readFile, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { errnoOf, messageOf } from '#base'
import { createFileOnce, type HostProcess, makeFolderDurable, replaceFile, syncFolder } from '#runtime'
import { HypervisorError } from '../errors.ts'
import type { Generation, TrackerId } from '../port.ts'
import type { GuestScript } from '../quiesce/script-settings.ts'
import { isObject } from '../qmp/shape.ts'
import type { DiskPlan } from './plan.ts'
import type { TrackingDecision } from './tracking.ts'

/** Longest time that the guest may suffer in a step before the watchdog ends it; undefined: as long as the owner lives. */
export const STEP_MS_MAX = {
  prepare: undefined,
  quiesce: 60_000,
  freeze: 60_000,
  pause: 3_000,
  thaw: 30_000,
  wake: 60_000,
  open: undefined,
  commit: undefined,
  abort: undefined,
  dismantled: undefined,
} as const satisfies Record<string, number | undefined>

export type InstantStep = keyof typeof STEP_MS_MAX

type RecordOfAny = Readonly<{
  schema: 1
  id: string
  machine: string
  machineUuid: string
  owner: HostProcess
  step: InstantStep
  nbdSocketPath: string
  tracking: Readonly<{ tracker: TrackerId; next: Generation }> | undefined
}>

export type RunningRecord = RecordOfAny &
  Readonly<{
    kind: 'running'
    access: MachineSockets
    /** The QEMU that the guest runs in, where its process is known: what is owed to the guest ends with it. */
    guestProcess?: HostProcess | undefined
    /** The guest was running when it began, so it may be continued. */
    wasRunning: boolean
    /** Quieted applications wait for it. */
    postScript?: GuestScript | undefined
    /** Instead of STEP_MS_MAX, for this step: the guest's own settings may allow more. */
    stepMsMax?: number | undefined
    disks: readonly (DiskPlan & Readonly<{ scratchPath: string; scratchCapBytes: number }>)[]
  }>

/** Of a stopped machine: only `prepare`, `open`, `commit`, `abort` and `dismantled` occur; there is no guest to suffer. */
export type StoppedRecord = RecordOfAny &
  Readonly<{
    kind: 'stopped'
    /** The storage daemon that holds the images' locks, once it runs. */
    daemon: HostProcess | undefined
    images: readonly StoppedImage[]
  }>

export type StoppedImage = Readonly<{
  lun: number
  path: string
  format: 'qcow2' | 'raw'
  exportName: string
  tracking: TrackingDecision
}>

export type InstantRecord = RunningRecord | StoppedRecord

export type MachineSockets = Readonly<{
  /** The monitor that the instant holds while it is open. */
  qmpSocketPath: string
  /** A monitor for recovery and the watchdog, which may have to act while the other one is held. Default: the same one. */
  rescueSocketPath?: string | undefined
  agentSocketPath?: string | undefined
  /** QEMU's process id, for one that runs in another network namespace. */
  processId?: number | undefined
}>

const ENDING = '.instant.json'
/** An owner that is never alive. */
const NOBODY: HostProcess = { pid: 0, startTicks: '', bootId: '' }

function encode(record: InstantRecord): Uint8Array[] {
  return [Buffer.from(`${JSON.stringify(record)}\n`)]
}

function decode(path: string, text: string): InstantRecord {
  try {
    const value: unknown = JSON.parse(text)
    if (isObject(value) && value['schema'] === 1 && typeof value['step'] === 'string' && value['step'] in STEP_MS_MAX) {
      return value as InstantRecord // written whole by `encode`, see durable-file
    }
    throw new RangeError('not a record of schema 1')
  } catch (cause) {
    throw new HypervisorError('instant_failed', `The instant's journal ${path} cannot be read: ${messageOf(cause)}`, {
      facts: { path },
      hint: 'It was written by a newer Holdfast or damaged. Close the instant with the version that opened it.',
      cause,
    })
  }
}

export class InstantJournal {
  readonly folder: string

  constructor(folder: string) {
    this.folder = folder
  }

  pathOf(id: string): string {
    return join(this.folder, `${id}${ENDING}`)
  }

  async create(record: InstantRecord): Promise<void> {
    await makeFolderDurable(this.folder)
    const outcome = await createFileOnce(this.pathOf(record.id), encode(record))
    if (outcome === 'created') return
    throw new HypervisorError('instant_open', 'An instant with this id is in the journal already.', {
      facts: { id: record.id },
    })
  }

  async replace(record: InstantRecord): Promise<void> {
    await replaceFile(this.pathOf(record.id), encode(record))
  }

  /** Not when another recoverer removed the record meanwhile: that instant is closed. */
  async replaceIfThere(record: InstantRecord): Promise<void> {
    if ((await this.read(record.id)) !== undefined) await this.replace(record)
  }

  /** Gives an instant up to recovery and the watchdog, which otherwise leave those of living owners alone. Idempotent. */
  async abandon(id: string): Promise<void> {
    const record = await this.read(id)
    if (record !== undefined) await this.replace({ ...record, owner: NOBODY })
  }

  /** All is taken apart; what is owed to the guest's application stays, for recovery and the watchdog. */
  async leaveOwing(record: RunningRecord): Promise<void> {
    await this.replaceIfThere({ ...record, step: 'dismantled', owner: NOBODY })
  }

  /** Idempotent. */
  async remove(id: string): Promise<void> {
    try {
      await unlink(this.pathOf(id))
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return
      throw error
    }
    await syncFolder(this.folder)
  }

  /** The record as it stands now; undefined when its instant is closed. */
  async read(id: string): Promise<InstantRecord | undefined> {
    const path = this.pathOf(id)
    try {
      return decode(path, await readFile(path, 'utf8'))
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return undefined
      throw error
    }
  }

  /** Ids of all instants that are open or were left behind. An absent folder holds none. */
  async ids(): Promise<string[]> {
    try {
      const names = await readdir(this.folder)
      return names
        .filter((name) => name.endsWith(ENDING))
        .map((name) => name.slice(0, -ENDING.length))
        .sort()
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return []
      throw error
    }
  }
  /** UUIDs of the machines that have an instant open, or one whose nodes were left behind. */
  async openMachines(): Promise<Set<string>> {
    const machines = new Set<string>()
    for (const id of await this.ids()) {
      const record = await this.read(id)
      if (record !== undefined && record.step !== 'dismantled') machines.add(record.machineUuid)
    }
    return machines
  }
}
