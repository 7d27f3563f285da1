/** What processes of the simulated world do, and for each what it may fail with, given what was done to it. */
import { isHoldfastError, must } from '#base'
import { packKeyOf, preparePrune, prune, type PointRecord, type Repository } from '#engine/repository'
import {
  backUp,
  type BackupDisk,
  DELTA_LIMITS,
  type DeltaLimits,
  NO_DELTAS,
  verifyWithKey,
  verifyWithoutKey,
} from '#engine/transfer'
import type { SimulatedProcess } from './simulated-process.ts'
import { restoredDifference, type Surroundings } from './surroundings.ts'

export type Operation = {
  readonly label: string
  /** undefined while it is under way. */
  outcome: unknown
  readonly mayFail: (error: unknown) => boolean
}

type Context = {
  readonly world: Surroundings
  readonly process: SimulatedProcess
  readonly number: number
  readonly startedMs: number
  readonly jumpsBefore: number
  /** The point that an incremental builds on or a reader reads, once it is chosen. */
  point?: PointRecord
}
const PIN_MS = 3600_000
/** Chains as they are, chains that are merged and folded all the time, and none. */
const DELTAS: readonly DeltaLimits[] = [DELTA_LIMITS, { depthMax: 2, extentsMax: 24, chunksMax: 1 }, NO_DELTAS]

type Work = (context: Context) => Promise<void>

const WORKS: readonly (readonly [name: string, share: number, work: Work])[] = [
  ['full', 2, (context) => runBackup(context, false)],
  ['incremental', 5, (context) => runBackup(context, true)],
  ['forget', 3, forget],
  ['prune', 4, runPrune],
  ['restore', 2, restore],
  ['verify', 1, verify],
  ['verify without key', 1, verifyKeyless],
]

function choose(world: Surroundings): (typeof WORKS)[number] {
  let at = world.random.below(WORKS.reduce((sum, [, share]) => sum + share, 0))
  return must(
    WORKS.find(([, share]) => (at -= share) < 0),
    'The shares cover the range',
  )
}

export function startOperation(world: Surroundings, process: SimulatedProcess, number: number): Operation {
  const [name, , work] = choose(world)
  const context: Context = {
    world,
    process,
    number,
    startedMs: world.clock.monotonicMs(),
    jumpsBefore: world.clockJumps,
  }
  const operation: Operation = {
    label: `#${number} ${name} by ${process.name}`,
    outcome: undefined,
    mayFail: (error) => mayFail(context, error),
  }
  if (world.random.chance(0.12)) process.crashSoon()
  process.running += 1
  work(context).then(
    () => {
      process.running -= 1
      operation.outcome = 'ok'
    },
    (error: unknown) => {
      process.running -= 1
      operation.outcome = error ?? new Error('rejected with nothing')
    },
  )
  return operation
}

/** Whether the operation has lasted for as long as a pin does. */
function hasOutlivedPin({ world, startedMs, jumpsBefore }: Context): boolean {
  return world.clock.monotonicMs() - startedMs >= PIN_MS || world.clockJumps > jumpsBefore || isClockWrong(world)
}

/** Then pins are not what they seem, to some. */
function isClockWrong({ clock, trueClock }: Surroundings): boolean {
  return clock.nowMs() !== trueClock.nowMs()
}

function mayFail(context: Context, error: unknown): boolean {
  const { world, process, point } = context
  if (process.crashed) return isHoldfastError(error)
  if (isHoldfastError(error, 'store_unavailable', 'store_full', 'lock_failed')) return process.unreliable
  if (isHoldfastError(error, 'point_locked', 'clock_doubted')) return world.locks !== undefined
  // Whoever stood still for longer than a pin lasts may find things gone; it must say so, and in one of these words.
  const pinRanOut = hasOutlivedPin(context)
  const pointWasForgotten = point !== undefined && world.model.forgetBegun.has(point.id)
  const gone = isHoldfastError(error, 'packs_deleted', 'pack_missing', 'chunk_missing', 'prune_overtaken')
  return gone && (pinRanOut || pointWasForgotten)
}

async function runBackup(context: Context, incremental: boolean): Promise<void> {
  const { world, process, number } = context
  const { random } = process
  const repository = await process.repository()
  const note = `instant-${number}`
  const contents = world.model.takeInstant(note, random)
  const points = repository.points()
  const parent = incremental && points.length > 0 ? random.pick(points) : undefined
  if (parent !== undefined) context.point = parent
  const before = parent === undefined ? undefined : world.model.contentOf(parent)
  const disks = contents.map((content, i): BackupDisk => {
    const [old, oldContent] = [parent?.disks[i], before?.[i]]
    const changes: BackupDisk['changes'] =
      old !== undefined && oldContent !== undefined && oldContent.sizeBytes <= content.sizeBytes
        ? { kind: 'since', dirty: content.dirtySince(oldContent, random), parent: old }
        : { kind: 'all', reason: points.length === 0 ? 'first_backup' : 'simulated' }
    const source = { opened: content.device() }
    return { id: `disk-${i}`, lun: i, format: 'raw', sizeBytes: content.sizeBytes, source, changes }
  })
  const usesParent = disks.some(({ changes }) => changes.kind === 'since')
  const record = await backUp(
    repository,
    {
      machine: 'machine',
      takenAtMs: world.clock.nowMs(),
      consistency: 'crash',
      notes: [note],
      disks,
      ...lockWish(context),
      ...(parent === undefined || !usesParent ? {} : { parentPoint: parent.id }),
    },
    {
      store: process.store,
      clock: world.clock,
      random,
      writer: process.name,
      packBytesTarget: 2048,
      deltas: must(DELTAS[number % DELTAS.length], 'Inside the list'),
    },
  )
  world.model.acknowledged.add(record.id)
  const untilMs = repository.immutability.lockedUntilMs(record.id)
  if (untilMs !== undefined) world.model.lockedUntilMs.set(record.id, untilMs)
}

function lockWish({ world, process }: Context): { lockMs?: number } {
  if (world.locks === undefined) return {}
  const hours = process.random.pick([0, 2, 24, 100])
  return hours === 0 ? {} : { lockMs: hours * 3600_000 }
}

async function forget({ world, process }: Context): Promise<void> {
  const repository = await process.repository()
  const points = repository.points()
  if (points.length < 2) return
  const { random } = process
  const ids = points.filter(() => random.chance(0.4)).map(({ id }) => id)
  for (const id of ids) world.model.forgetBegun.add(id)
  if (world.canary === 'believes-its-clock') {
    const nowMs = world.clock.nowMs()
    if (ids.every((id) => (repository.immutability.lockedUntilMs(id) ?? 0) <= nowMs))
      await repository.log.append(() => ({ fields: { forgotten: ids, acceptedMs: nowMs } }))
  } else await repository.forget(ids)
  for (const id of ids) world.model.forgotten.add(id)
}

async function runPrune({ world, process }: Context): Promise<void> {
  const repository = await process.repository()
  const { random } = process
  const environment = { clock: world.clock, random }
  const options = { wasteShareMax: random.pick([0, 0.1, 0.25, 0.6]), rewriteBytesMax: random.pick([4096, 1e9]) }
  if (world.canary === 'deletes-without-entry') return pruneByForce(repository, environment, options)
  try {
    await prune(repository, environment, options)
  } catch (error) {
    // An operator who looks at a clock that is right says so.
    if (!isHoldfastError(error, 'clock_doubted') || isClockWrong(world)) throw error
    await repository.immutability.acceptTime()
  }
}

/** The canary's prune: right about what nobody needs now, blind to those who are at work. */
async function pruneByForce(
  repository: Repository,
  environment: Parameters<typeof preparePrune>[1],
  options: Parameters<typeof preparePrune>[2],
): Promise<void> {
  const { plan } = await preparePrune(repository, environment, options)
  for (const name of [...plan.drop, ...plan.strays]) await repository.store.delete(packKeyOf(name))
}

async function restore(context: Context): Promise<void> {
  const { world, process } = context
  const repository = await process.repository()
  const session = await repository.beginReading('restore')
  try {
    const points = repository.points()
    if (points.length === 0) return
    const point = process.random.pick(points)
    if (session === undefined) context.point = point
    const different = await restoredDifference(world, repository, point, process.store)
    if (different !== undefined) throw new Error(`a reader was given wrong bytes: ${different}`)
  } finally {
    if (!process.crashed) await session?.end()
  }
}

async function verify({ world, process }: Context): Promise<void> {
  const repository = await process.repository()
  await repository.log.refresh()
  const { damage: all } = await verifyWithKey(repository, { store: process.store })
  const damage = all.filter(({ object }) => !world.planted.has(object))
  if (damage.length > 0) throw new Error(`verify found damage: ${JSON.stringify(damage)}`)
}

async function verifyKeyless({ world, process }: Context): Promise<void> {
  const environment = { clock: world.clock, random: process.random }
  const { damage: all } = await verifyWithoutKey(process.store, environment, { store: process.store })
  const damage = all.filter(({ object }) => !world.planted.has(object))
  if (damage.length > 0) throw new Error(`verify without the key found damage: ${JSON.stringify(damage)}`)
}
