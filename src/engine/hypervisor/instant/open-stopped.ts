/**
 * openStoppedInstant: the disks of a machine that does not run, held so until commit or abort. Nothing has to be copied
 * aside: the images themselves are the instant, and their locks keep them so (storage-daemon.ts).
 *
 * Order: journal, bitmaps, daemon. A machine that is started between the last two wins the locks: then this fails with
 * `disk_in_use`, and what it wrote meanwhile is in the new bitmap, which `abort` or the next instant merges back.
 */
import { HypervisorError } from '../errors.ts'
import type { ConsistencyLevel, MachineDescription, MachineDisk } from '../machine.ts'
import type { Instant, InstantDisk, OpenInstantOptions } from '../port.ts'
import type { ConsistencyReason } from '../quiesce/consistency-reason.ts'
import { chown } from 'node:fs/promises'
import { must, toHex } from '#base'
import { identityOf, isAlive, makeFolderDurable } from '#runtime'
import { type InstantHost, socketPathIn } from './access.ts'
import { InstantJournal, type StoppedImage, type StoppedRecord } from './journal.ts'
import { editBitmaps, type OfflineImage, openingEdits, readOfflineImage } from './offline-image.ts'
import { takeOver } from './recover.ts'
import { ensureWatchdog } from './watchdog-process.ts'
import { dismantleStopped, startStorageDaemon } from './storage-daemon.ts'
import { askOf, decideTracking, nextGeneration, trackingRecord } from './tracking.ts'

export type StoppedMachine = Readonly<{
  description: MachineDescription
  /** Its guest shut down by itself: file systems and applications closed their files. */
  stoppedCleanly: boolean
}>

type Found = Readonly<{ disk: MachineDisk; image: StoppedImage; offline: OfflineImage }>

async function find(disk: MachineDisk, options: OpenInstantOptions): Promise<Found> {
  const offline = await readOfflineImage(disk)
  const decision = decideTracking(offline, askOf(options.tracking, disk.diskId))
  const image = {
    lun: disk.lun,
    path: disk.path,
    format: disk.format,
    exportName: `lun${disk.lun}`,
    tracking: decision,
  }
  return { disk, image, offline }
}

class StoppedInstant implements Instant {
  readonly id: string
  readonly takenAtMs: number
  readonly consistency: ConsistencyLevel
  readonly notes: readonly string[]
  readonly reasons: readonly ConsistencyReason[]
  readonly pauseMs = 0
  readonly freezeMs = 0
  readonly weakerPromise = undefined
  readonly machine: MachineDescription
  readonly disks: readonly InstantDisk[]
  readonly #host: InstantHost
  readonly #journal: InstantJournal
  readonly #record: StoppedRecord
  #ended: 'commit' | 'abort' | undefined
  #closing: Promise<void> | undefined

  constructor(
    host: InstantHost,
    record: StoppedRecord,
    machine: StoppedMachine,
    found: readonly Found[],
    wanted: ConsistencyLevel,
  ) {
    this.#host = host
    this.#journal = new InstantJournal(host.journalFolder)
    this.#record = record
    this.id = record.id
    this.takenAtMs = host.clock.nowMs()
    this.consistency = machine.stoppedCleanly ? wanted : 'crash'
    const isLess = !machine.stoppedCleanly && wanted !== 'crash'
    this.notes = isLess ? ['Only crash-consistent: the machine did not shut down by itself.'] : []
    this.reasons = isLess ? ['machine_not_shut_down'] : []
    this.machine = machine.description
    this.disks = found.map((one) => instantDisk(one, record.nbdSocketPath))
  }

  async check(): Promise<void> {
    const { daemon } = this.#record
    if (this.#ended === undefined && daemon !== undefined && isAlive(daemon)) return
    throw new HypervisorError('instant_broken', 'The images are no longer held: the machine may have been started.', {
      retry: 'later',
    })
  }

  async commit(): Promise<void> {
    await this.#end('commit')
  }

  async abort(_reason: string): Promise<void> {
    await this.#end('abort')
  }

  async #end(verdict: 'commit' | 'abort'): Promise<void> {
    if (this.#ended !== undefined && this.#ended !== verdict) {
      throw new HypervisorError('instant_failed', `The instant was closed by ${this.#ended} already.`, {
        facts: { id: this.id, verdict },
      })
    }
    if (this.#ended === verdict) {
      // Closed, being closed, or given up after an error: then the journal holds the verdict, and anybody may go on.
      await this.#closing?.catch(() => takeOver(this.#host.clock, this.#journal, this.id))
      return
    }
    this.#ended = verdict
    this.#closing = this.#close(verdict)
    await this.#closing
  }

  async #close(verdict: 'commit' | 'abort'): Promise<void> {
    const record: StoppedRecord = { ...this.#record, step: verdict }
    try {
      await this.#journal.replace(record)
      await this.#host.onStep?.(verdict)
      await dismantleStopped(this.#host.clock, record, verdict)
      await this.#host.onStep?.('dismantled')
      await this.#journal.remove(this.id)
    } catch (error) {
      await this.#journal.abandon(this.id)
      throw error
    }
  }
}

/** Bytes are read from the file itself where all of them lie there and all are wanted, else through the daemon. */
function instantDisk({ disk, image, offline }: Found, socketPath: string): InstantDisk {
  const { changes, previous } = image.tracking
  const generation = nextGeneration(image.tracking)
  const direct = changes.kind === 'all' && offline.isSelfContained
  const context = previous === undefined ? {} : { bitmapContext: `qemu:dirty-bitmap:${previous}` }
  return {
    lun: disk.lun,
    diskId: disk.diskId,
    format: disk.format,
    sizeBytes: offline.sizeBytes,
    source: direct
      ? { kind: 'image', path: disk.path, format: disk.format }
      : { kind: 'nbd', socketPath, exportName: image.exportName, ...context },
    ...(generation === undefined ? {} : { generation }),
    ...(previous === undefined ? {} : { present: { socketPath, exportName: image.exportName } }),
    changes,
    releases: false,
  }
}

async function carryOut(
  host: InstantHost,
  journal: InstantJournal,
  begun: StoppedRecord,
  found: readonly Found[],
  options: OpenInstantOptions,
) {
  await host.onStep?.('prepare')
  for (const { image } of found) {
    await editBitmaps(image, openingEdits(image.tracking, options.tracking?.granularityBytes ?? 0))
  }
  await host.onStep?.('prepare.bitmaps')
  const sizes = found.map((one) => one.offline.sizeBytes)
  const daemon = await startStorageDaemon(host, begun, sizes)
  await host.onStep?.('prepare.daemon')
  const record: StoppedRecord = { ...begun, daemon, step: 'open' }
  await journal.replace(record)
  await host.onStep?.('open')
  return record
}

/**
 * Opens an instant of a stopped machine. @throws `disk_in_use` when it runs (or another program has an image open),
 * `instant_open` when its images are held by another instant, `instant_failed`.
 */
export async function openStoppedInstant(
  host: InstantHost,
  machine: StoppedMachine,
  options: OpenInstantOptions,
): Promise<Instant> {
  const wanted = machine.description.disks.filter((disk) => !options.excludeLuns?.includes(disk.lun))
  const found = await Promise.all(wanted.map((disk) => find(disk, options)))
  await makeFolderDurable(host.runFolder)
  if (host.processUser !== undefined) await chown(host.runFolder, host.processUser.uid, host.processUser.gid)
  const id = toHex(host.random.bytes(4))
  const decisions = found.map(({ image }) => image.tracking)
  const record: StoppedRecord = {
    schema: 1,
    kind: 'stopped',
    id,
    machine: machine.description.name,
    machineUuid: machine.description.uuid,
    owner: must(identityOf(), 'This process is alive'),
    step: 'prepare',
    nbdSocketPath: socketPathIn(host.runFolder, id),
    tracking: trackingRecord(decisions, options.tracking),
    daemon: undefined,
    images: found.map((one) => one.image),
  }
  const journal = new InstantJournal(host.journalFolder)
  await journal.create(record)
  try {
    // There is no guest to free; but a daemon that outlives us would keep the machine from starting.
    if (host.watchdog === 'start') await ensureWatchdog(host.clock, host.journalFolder)
    const open = await carryOut(host, journal, record, found, options)
    return new StoppedInstant(host, open, machine, found, options.consistency)
  } catch (error) {
    await dismantleStopped(host.clock, record, 'abort').then(
      () => journal.remove(id),
      // Recovery goes on; the first error is what the caller must hear.
      () => journal.abandon(id),
    )
    throw error
  }
}
