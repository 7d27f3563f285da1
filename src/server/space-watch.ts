/**
 * Looks after the space of pools and stores: what comes into its reserve raises an alarm, in the log, in `status`, in the
 * figures and as an event of the activity log; so does the end of the alarm. Nothing is stopped: guests have the reserve.
 */
import { type Clock, formatBytes, messageOf, type Random, randomUuid } from '#base'
import { type Catalog, recordActivity } from '#catalog'
import type { Logger } from '#runtime'
import { LOCAL_CALLER } from './access/admin-call.ts'
import type { Config } from './config/schema.ts'
import type { Hosts } from './hosts/hosts.ts'
import { poolViews, type Space, storeViews } from './places/space-methods.ts'

const EVERY_MS = 60_000

export type Alarm = Readonly<{ kind: 'pool' | 'store'; region: string; name: string; says: string }>

type Place = Readonly<{
  kind: Alarm['kind']
  region: string
  name: string
  /** Undefined: it cannot be read. */
  space: Space | undefined
  reserveBytes: number
}>

export type SpaceWatchParts = Readonly<{
  catalog: Catalog
  clock: Clock
  random: Random
  logger: Logger
  reserve: Config['reserve']
  hosts: Hosts
}>

/** What is wrong with a place; undefined when nothing is. Pure. */
export function alarmOf({ kind, region, name, space, reserveBytes }: Place): Alarm | undefined {
  const raise = (says: string): Alarm => ({ kind, region, name, says })
  if (space === undefined) return raise(`The ${kind} ${region}/${name} cannot be read.`)
  if (space.freeBytes >= reserveBytes) return undefined
  const [free, reserve] = [space.freeBytes, reserveBytes].map(formatBytes)
  return raise(`The ${kind} ${region}/${name} has ${free} free, less than its reserve of ${reserve}: work is refused.`)
}

export class SpaceWatch {
  readonly #parts: SpaceWatchParts
  readonly #over = new AbortController()
  #alarms: ReadonlyMap<string, Alarm> = new Map()
  #running: Promise<void> = Promise.resolve()

  constructor(parts: SpaceWatchParts) {
    this.#parts = parts
  }

  get alarms(): readonly Alarm[] {
    return [...this.#alarms.values()]
  }

  /** Looks once; tells what is new and what is over. @throws CatalogError */
  async look(): Promise<void> {
    const found = new Map<string, Alarm>()
    for (const place of await this.#places()) {
      const alarm = alarmOf(place)
      if (alarm !== undefined) found.set(`${place.kind} ${place.region}/${place.name}`, alarm)
    }
    const before = this.#alarms
    this.#alarms = found
    for (const [key, alarm] of found) if (!before.has(key)) await this.#tell(alarm, 'raised')
    for (const [key, alarm] of before) if (!found.has(key)) await this.#tell(alarm, 'over')
  }

  begin(): void {
    this.#running = this.#loop()
  }

  async leave(): Promise<void> {
    this.#over.abort()
    await this.#running
  }

  async #places(): Promise<Place[]> {
    const { catalog, reserve, hosts } = this.#parts
    const pools = (await poolViews({ catalog, hosts })).map((pool): Place => ({ ...pool, kind: 'pool' }))
    const stores = (await storeViews({ catalog }))
      .filter(({ location }) => !location.includes('://')) // A bucket has no room that could be asked for.
      .map((store): Place => ({ ...store, kind: 'store', reserveBytes: reserve.store }))
    return [...pools, ...stores]
  }

  async #tell(alarm: Alarm, state: 'raised' | 'over'): Promise<void> {
    const { catalog, clock, random, logger } = this.#parts
    const { kind, region, name, says } = alarm
    if (state === 'raised') logger.error({ kind, region, name }, says)
    else logger.info({ kind, region, name }, 'the alarm is over')
    const id = randomUuid(random)
    await recordActivity(catalog, {
      id,
      correlation: id,
      atMs: clock.nowMs(),
      caller: LOCAL_CALLER,
      action: `Holdfast.Places/${kind}s/alarm/${state}`,
      resource: `/regions/${region}/${kind}s/${name}`,
      status: state === 'raised' ? 'Failed' : 'Succeeded',
      httpStatus: state === 'raised' ? 507 : 200,
      operation: undefined,
      facts: { says },
    })
  }

  async #loop(): Promise<void> {
    const { clock, logger } = this.#parts
    for (;;) {
      try {
        await this.look()
      } catch (error) {
        logger.warn({ error: messageOf(error) }, 'the space of pools and stores was not looked at')
      }
      try {
        await clock.sleep(EVERY_MS, this.#over.signal)
      } catch {
        return // The sleep only ends early because we leave.
      }
    }
  }
}
