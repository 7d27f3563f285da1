/**
 * Looks after machines that ran when they were last looked at: one whose QEMU is gone is written down as it is, with how it
 * ended, in its record and as an event of the activity log; one that is wanted to run is started again, later each time.
 *
 * Records are read before the host is asked, and a record is changed only if it is still of the same run: whoever stops or starts
 * a machine meanwhile is not taken for a crash. A start is a job of the machine's own key, so that it never runs beside an
 * operation, and it looks again before it starts: nothing is started twice, however often this is killed.
 */
import { type Clock, messageOf, type Random, randomUuid } from '#base'
import { type Catalog, type ChangeSource, recordActivity } from '#catalog'
import { noticeEnd, type OwnMachineBacking, restartDelayMs } from '#domain'
import {
  changeMachine,
  findOwnMachine,
  type JobEngine,
  listOwnMachines,
  type MachineService,
  type MachineSighting,
  RESOURCE_QUEUE,
  REVIVE_MACHINE_JOB,
  setDisks,
  vmIdOf,
} from '#jobs'
import type { Logger } from '#runtime'
import { LOCAL_CALLER } from './access/admin-call.ts'

const EVERY_MS = 2_000

export type MachineWatchParts = Readonly<{
  catalog: Catalog
  engine: JobEngine
  machines: MachineService
  clock: Clock
  random: Random
  logger: Logger
  everyMs?: number
}>

type Found = Awaited<ReturnType<typeof listOwnMachines>>[number]

export class MachineWatch {
  readonly #parts: MachineWatchParts
  readonly #source: ChangeSource
  readonly #over = new AbortController()
  #running: Promise<void> = Promise.resolve()
  #isSilent = false

  constructor(parts: MachineWatchParts) {
    this.#parts = parts
    const { clock, random } = parts
    this.#source = { nowMs: () => clock.nowMs(), newEtag: () => `W/"${randomUuid(random)}"` }
  }

  begin(): void {
    this.#running = this.#loop()
  }

  async leave(): Promise<void> {
    this.#over.abort()
    await this.#running
  }

  /** Looks once. @throws JobsError `bytes_unreachable`, CatalogError */
  async look(): Promise<void> {
    const { catalog, machines } = this.#parts
    const settled = (await listOwnMachines(catalog)).filter(({ record }) => record.state === 'Succeeded')
    const asked = settled.filter(({ own }) => own.power === 'running')
    const sightings = asked.length === 0 ? [] : await machines.look()
    const byName = new Map(sightings.map((sighting) => [sighting.name, sighting]))
    for (const found of asked) await this.#compare(found, byName.get(found.own.machine))
    for (const { record, own } of settled)
      if (own.power === 'stopped' && own.wanted === 'running') await this.#revive(record.id)
  }

  async #compare({ record, own }: Found, sighting: MachineSighting | undefined): Promise<void> {
    if (sighting?.power === 'running' || sighting?.power === 'paused') return
    const { catalog, clock, logger } = this.#parts
    const nowMs = clock.nowMs()
    const { cause = 'vanished', atMs = nowMs, exitCode } = sighting?.end ?? {}
    const noticed = noticeEnd(own, cause, nowMs)
    const isCrash = noticed.kind === 'crash'
    const isSame = await catalog.write(async (trx) => {
      const now = await findOwnMachine(trx, record.id).catch(() => undefined) // deleted meanwhile
      if (now?.record.state !== 'Succeeded' || !isOfRun(now.own, own)) return false
      const lastEnd = { cause, atMs, ...(exitCode !== undefined && { exitCode }) }
      const { wanted, crashes } = noticed
      const crash = isCrash ? { crashes, lastCrashMs: nowMs } : { crashes: undefined, lastCrashMs: undefined }
      const backing = { power: 'stopped' as const, wanted, lastEnd, startedMs: undefined, ...crash }
      await changeMachine(trx, record.id, { backing }, this.#source)
      await setDisks(trx, now.record, 'Reserved', this.#source)
      return true
    })
    if (!isSame) return
    logger.warn({ machine: record.id, cause, exitCode, crashes: noticed.crashes }, 'a machine does not run any more')
    await this.#tell(record.id, isCrash ? 'crashed' : 'guestPowerOff', {
      cause,
      ...(exitCode !== undefined && { exitCode }),
    })
  }

  async #revive(id: string): Promise<void> {
    const { catalog, engine, clock, logger } = this.#parts
    const found = await findOwnMachine(catalog, id).catch(() => undefined) // deleted meanwhile
    if (found === undefined) return
    const { record, own } = found
    const isDown = record.state === 'Succeeded' && own.power === 'stopped' && own.wanted === 'running'
    if (!isDown || own.generalized) return
    const sinceMs = own.lastCrashMs ?? record.changedMs
    if (clock.nowMs() < sinceMs + restartDelayMs(own.crashes ?? 1)) return
    const job = `revive-${vmIdOf(record)}-${sinceMs}`
    if ((await engine.get(job)) !== undefined) return
    await engine.start(REVIVE_MACHINE_JOB, { id }, { id: job, queue: RESOURCE_QUEUE, key: record.key })
    logger.info({ machine: id, crashes: own.crashes }, 'the machine is started again')
    await this.#tell(id, 'startAgain', { crashes: own.crashes ?? 0 }, job)
  }

  async #tell(resource: string, what: string, facts: Readonly<Record<string, unknown>>, operation?: string) {
    const { catalog, clock, random } = this.#parts
    const id = randomUuid(random)
    const isBad = what === 'crashed'
    await recordActivity(catalog, {
      id,
      correlation: id,
      atMs: clock.nowMs(),
      caller: LOCAL_CALLER,
      action: `Microsoft.Compute/virtualMachines/${what}`,
      resource,
      status: isBad ? 'Failed' : operation === undefined ? 'Succeeded' : 'Accepted',
      httpStatus: isBad ? 500 : 200,
      operation,
      facts,
    })
  }

  async #loop(): Promise<void> {
    const { clock, logger, everyMs = EVERY_MS } = this.#parts
    for (;;) {
      try {
        await this.look()
        this.#isSilent = false
      } catch (error) {
        // The worker is being started, or the catalog is busy: the next look tries again. Said once.
        if (!this.#isSilent) logger.warn({ error: messageOf(error) }, 'machines could not be looked after')
        this.#isSilent = true
      }
      try {
        await clock.sleep(everyMs, this.#over.signal)
      } catch {
        return // The sleep only ends early because we leave.
      }
    }
  }
}

function isOfRun(now: OwnMachineBacking, before: OwnMachineBacking): boolean {
  return now.power === 'running' && now.startedMs === before.startedMs
}
