/**
 * Checks a repository and its mirror, every byte of both, and heals either from the other. Needs no key; with one the log's entries are
 * held against their MACs too, and slots against it.
 *
 * What is right is said by the objects themselves: a pack's name is the hash of its bytes, an entry's hash stands in the entry after it,
 * a slot opens with its key (`healFrame`). So neither side is believed more than the other, and what is hurt on both stays hurt and is named. Nothing is healed across
 * two histories: `standingOf` first. A crash leaves one side better than it was.
 */
import { type Clock, type ProgressSink, type Random } from '#base'
import {
  type BlobStore,
  CommitLog,
  type Credential,
  type Damage,
  finishIncoming,
  healFrame,
  type HealedFrame,
  healMirrorLog,
  lastEntryOf,
  logDamages,
  packKeyOf,
  readConfig,
  readWholeLog,
  removeCheckpoints,
  removeOtherCheckpoints,
  repairLog,
  repairPack,
  type Repository,
  standingOf,
  type StoreDescriptor,
  type WholeLog,
} from '#engine/repository'
import { checkPacks } from './verify.ts'

export type CheckMirrorParts = Readonly<{
  source: BlobStore
  target: BlobStore
  /** How threads open them; without it everything is read in this one. */
  places?: Readonly<{ source: StoreDescriptor; target: StoreDescriptor }>
  repository?: Repository
  /** What opened it: which of two key slots that differ is right is known by it. */
  credential?: Credential
  /** What was healed of the source's frame before it could be opened. */
  frame?: HealedFrame
  clock: Clock
  random: Random
  threads?: number
  progress?: ProgressSink
  signal?: AbortSignal
}>

/** Of one side: what was hurt, by object, and which of it is whole now. */
export type SideReport = Readonly<{
  checkedBytes: number
  packs: number
  hurt: readonly string[]
  healed: readonly string[]
  /** What of it stays hurt, with the points that it touches. */
  damage: readonly Damage[]
}>

export type MirrorCheck = Readonly<{ ok: boolean; head: number; source: SideReport; target: SideReport }>

/** @throws mirror_diverged, repository_not_found, and what the stores throw */
export async function checkMirror(parts: CheckMirrorParts): Promise<MirrorCheck> {
  const { source, target } = parts
  await finishIncoming(target)
  const key = parts.credential === undefined ? {} : { credential: parts.credential }
  const ourFrame = merged(parts.frame, await healFrame(source, target, { side: 'repository', ...key }))
  const whole = await healSourceLog(parts)
  const head = (await standingOf(source, whole.read.log, target, 0)).head
  // A place without a log was never mirrored into, and is not made to look as if it had been.
  const theirFrame = head === 0 ? NOTHING_HURT : await healFrame(target, source, { side: 'mirror', ...key })
  const isLogWhole = whole.read.log.damage.length === 0
  const log = isLogWhole
    ? await healMirrorLog(source, target, whole.read.log, { head, hasKey: parts.repository !== undefined })
    : { hurt: [] as number[], mended: [] as number[] }
  const checkpoints = isLogWhole ? await removeOtherCheckpoints(source, target) : []
  const ours = await healPacks(parts, source, target, whole.read.log, parts.places?.source)
  const theirs = await healPacks(parts, target, source, await keyless(parts, target), parts.places?.target)
  const sourceReport = sideOf(
    ours,
    [...ourFrame.hurt, ...whole.hurt],
    [...ourFrame.healed, ...whole.healed],
    [...ourFrame.damage, ...logDamages(whole.read.log)],
  )
  const left = log.hurt.filter((number) => !log.mended.includes(number))
  const targetReport = sideOf(
    theirs,
    [...theirFrame.hurt, ...log.hurt.map(entryName), ...checkpoints],
    [...theirFrame.healed, ...log.mended.map(entryName), ...checkpoints],
    [
      ...theirFrame.damage,
      ...left.map((number) => ({ kind: 'log_entry_corrupt' as const, object: entryName(number), points: [] })),
    ],
  )
  const ok = sourceReport.damage.length === 0 && targetReport.damage.length === 0
  return { ok, head, source: sourceReport, target: targetReport }
}

const entryName = (number: number): string => `log/${String(number).padStart(12, '0')}`

type Packs = Readonly<{
  checkedBytes: number
  packs: number
  hurt: readonly string[]
  healed: readonly string[]
  damage: readonly Damage[]
}>

function sideOf(
  packs: Packs,
  hurt: readonly string[],
  healed: readonly string[],
  damage: readonly Damage[],
): SideReport {
  return {
    ...packs,
    hurt: [...hurt, ...packs.hurt],
    healed: [...healed, ...packs.healed],
    damage: [...damage, ...packs.damage],
  }
}

const NOTHING_HURT: HealedFrame = { hurt: [], healed: [], damage: [] }

function merged(before: HealedFrame | undefined, now: HealedFrame): HealedFrame {
  if (before === undefined) return now
  return { hurt: [...before.hurt, ...now.hurt], healed: [...before.healed, ...now.healed], damage: now.damage }
}

/** Reads the repository's log whole, mended from the mirror where it must be. */
async function healSourceLog(
  parts: CheckMirrorParts,
): Promise<{ read: WholeLog; hurt: readonly string[]; healed: readonly string[] }> {
  const { source, target } = parts
  const first = await readSource(parts)
  const checkpoints = await removeCheckpoints(source, first)
  if (first.log.damage.length === 0) return { read: first, hurt: checkpoints, healed: checkpoints }
  const hurt = first.log.damage.map(({ number }) => entryName(number))
  await repairLog(source, target, first.log)
  const read = await readSource(parts)
  const left = new Set(read.log.damage.map(({ number }) => entryName(number)))
  const healed = hurt.filter((name) => !left.has(name))
  return { read, hurt: [...hurt, ...checkpoints], healed: [...healed, ...checkpoints] }
}

async function readSource(parts: CheckMirrorParts): Promise<WholeLog> {
  const { source, repository, clock, random } = parts
  if (repository !== undefined) return repository.readWholeLog()
  const { id } = await readConfig(source)
  return readWholeLog({ store: source, repositoryId: id, clock, random, writer: '' })
}

async function keyless({ source, clock, random }: CheckMirrorParts, store: BlobStore): Promise<CommitLog> {
  const { id } = await readConfig(source)
  if ((await lastEntryOf(store)) === 0) return CommitLog.open({ store, repositoryId: id, clock, random, writer: '' })
  return CommitLog.open({ store, repositoryId: id, clock, random, writer: '' }, 'entries')
}

/** Checks the packs that a side's log says are there, and puts those that are hurt back from the other side. */
async function healPacks(
  { threads, progress, signal }: CheckMirrorParts,
  store: BlobStore,
  other: BlobStore,
  log: CommitLog,
  place: StoreDescriptor | undefined,
): Promise<Packs> {
  const options = {
    store: place ?? store,
    ...(threads !== undefined && { threads }),
    ...(progress !== undefined && { progress }),
    ...(signal !== undefined && { signal }),
  }
  const { injuries, missing, checkedBytes, packs } = await checkPacks(log, undefined, options)
  const [hurt, healed]: [string[], string[]] = [[], []]
  const damage: Damage[] = []
  for (const ordinal of injuries.keys()) {
    const pack = log.state.packs[ordinal]
    if (pack === undefined) continue
    const object = packKeyOf(pack.name)
    hurt.push(object)
    if (await repairPack(store, other, pack)) healed.push(object)
    else
      damage.push({
        kind: missing.has(ordinal) ? 'pack_missing' : 'pack_corrupt',
        object,
        points: pointsOn(log, ordinal),
      })
  }
  return { checkedBytes, packs, hurt, healed, damage }
}

function pointsOn({ state }: CommitLog, ordinal: number): string[] {
  return [...state.points].filter(([, { header }]) => state.closureOf(header).has(ordinal)).map(([id]) => id)
}
