/**
 * Recovery points of several machines at one instant: each machine has a point of its own, in one repository, and all name the
 * instant that they share. All are made, or none counts.
 *
 *   step                              what a crash right after it leaves            what the next run does
 *   1 one instant of all is open      filters, bitmaps                              recovers them by the journal; a new instant
 *   2 some points are committed       those points, of an instant that is lost      gives them up (their locks may keep them), then
 *     for the others                                                                recovers and takes a new instant of all
 *   3 all points are committed        the points, by the note                       gives them
 *
 * Points are given up before their machines' instants are ended: then the log does not hold their generations, and tracking goes on
 * from the points before. One that is locked stays, and tracking goes on from it.
 */
import { must, toHex } from '#base'
import type { Instant } from '#engine/hypervisor'
import type { PointGroup, PointRecord, Repository } from '#engine/repository'
import { backUp } from '../backup.ts'
import { granularityOf, holdsGeneration, inputOf, trackerOf } from '../backup-machine.ts'
import { type GuardedInstant, openGuarded } from '../guarded-instant.ts'
import { type LandedVersion, landedVersions } from '../landed-versions.ts'
import { instantHostOf, recoverLeft, type SourcesBackup, type SourcesBackupOptions } from './back-up-sources.ts'
import { joinInstants } from './joined-instant.ts'
import { type OpenedSources, openSources } from './open-sources.ts'

export type MemberBackup = Pick<
  SourcesBackup,
  'machine' | 'sources' | 'places' | 'description' | 'attachments' | 'lockMs' | 'expiresAtMs'
>

export type TogetherBackup = Pick<SourcesBackup, 'consistency' | 'strict' | 'waitMs' | 'once'> &
  Readonly<{
    /** Name of the group. */
    group: string
    members: readonly MemberBackup[]
  }>

type Parents = ReadonlyMap<string, LandedVersion>
type Member = Readonly<{ backup: MemberBackup; instant: Instant; guarded: GuardedInstant }>

function madeBy(repository: Repository, { members, once }: TogetherBackup): (PointRecord | undefined)[] {
  const points = repository.points()
  return members.map(({ machine }) =>
    points.findLast((point) => point.machine === machine && point.notes.includes(once)),
  )
}

/** Points of an instant that was lost for others. One that is locked stays, as a point that nobody lists. */
async function giveUp(repository: Repository, points: readonly PointRecord[]): Promise<void> {
  const { passedMs } = await repository.immutability.judge()
  const free = points.filter(({ id }) => (repository.immutability.lockedUntilMs(id) ?? 0) <= passedMs)
  if (free.length > 0) await repository.forget(free.map(({ id }) => id))
}

/**
 * @returns the points in the order of the members
 * @throws what opening, reading and storing raise
 */
export async function backUpTogether(
  repository: Repository,
  wanted: TogetherBackup,
  options: SourcesBackupOptions,
): Promise<PointRecord[]> {
  await repository.log.refresh()
  const made = madeBy(repository, wanted).filter((point) => point !== undefined)
  const isWhole = made.length === wanted.members.length && new Set(made.map(({ group }) => group?.instant)).size === 1
  if (!isWhole) await giveUp(repository, made)
  await recoverLeft(repository, instantHostOf(repository, options), options.onUnrecovered)
  return isWhole ? made : takeTogether(repository, wanted, options)
}

async function takeTogether(
  repository: Repository,
  wanted: TogetherBackup,
  options: SourcesBackupOptions,
): Promise<PointRecord[]> {
  const parents: Parents = new Map(
    wanted.members.flatMap(({ machine }) => [...landedVersions(repository.points(), machine)]),
  )
  const opened: OpenedSources[] = []
  const reader = await repository.chunkReader()
  try {
    const guarded = await openGuarded(
      async (distrusted) => {
        const one = await openAll(repository, wanted, { parents, distrusted }, options)
        opened.push(one)
        return one.instant
      },
      {
        parentOf: (diskId) => parents.get(diskId)?.disk,
        read: (content) => reader.read(content),
        random: options.random,
        turn: repository.points().length,
      },
    )
    for (const note of guarded.notes) options.onWarning?.(note)
    return await storeAll(repository, wanted, { guarded, parents, opened: must(opened.at(-1), 'It is open') }, options)
  } finally {
    for (const one of opened) await one.close()
  }
}

function openAll(
  repository: Repository,
  { members, consistency, strict = false, waitMs }: TogetherBackup,
  { parents, distrusted }: Readonly<{ parents: Parents; distrusted: ReadonlySet<string> }>,
  options: SourcesBackupOptions,
): Promise<OpenedSources> {
  const { random, signal } = options
  const trusted = [...parents].filter(([id]) => !distrusted.has(id))
  const tracking = {
    tracker: trackerOf(repository),
    next: () => toHex(random.bytes(6)),
    committed: Object.fromEntries(trusted.map(([id, { disk }]) => [id, disk.generation])),
    granularityBytes: granularityOf(repository, {}, parents),
  }
  const host = instantHostOf(repository, options)
  const sources = members.flatMap((member) => member.sources)
  return openSources(sources, { host, tracking, consistency, strict, waitMs, ...(signal !== undefined && { signal }) })
}

/** What each member has of the instant. */
function membersOf({ members }: TogetherBackup, guarded: GuardedInstant, opened: OpenedSources): Member[] {
  let at = 0
  return members.map((backup) => {
    const instant = joinInstants(opened.instants.slice(at, at + backup.sources.length))
    at += backup.sources.length
    return { backup, instant, guarded: { ...guarded, instant } }
  })
}

async function storeAll(
  repository: Repository,
  wanted: TogetherBackup,
  given: Readonly<{ guarded: GuardedInstant; parents: Parents; opened: OpenedSources }>,
  options: SourcesBackupOptions,
): Promise<PointRecord[]> {
  const { guarded, parents, opened } = given
  const { instant } = guarded
  const members = membersOf(wanted, guarded, opened)
  const group: PointGroup = {
    name: wanted.group,
    instant: instant.id,
    skewMs: Math.round(opened.skewMs * 10) / 10,
    machines: wanted.members.map(({ machine }) => machine),
  }
  const { takenAtMs, pauseMs, consistency } = instant
  const points: PointRecord[] = []
  try {
    options.onOpen({ takenAtMs, pauseMs, consistency, skewMs: opened.skewMs })
    for (const { backup, guarded: own } of members) {
      const input = await inputOf(repository, own, { ...backup, group, notes: [wanted.once] }, parents)
      // One moment for all, whatever each host's clock said: the log orders them, and retention sees one time.
      const together = { ...input, takenAtMs }
      points.push(await backUp(repository, together, { ...options, beforeCommit: () => instant.check() }))
    }
    await instant.commit()
    return points
  } catch (error) {
    // All of them are made when only the end of the instant failed: the next run gives them.
    if (points.length < members.length)
      await giveUp(repository, points).catch(() => {
        // The next run finds them by the note and gives them up; the first error is what the caller must hear.
      })
    await endEach(repository, members)
    throw error
  }
}

/** Each machine's tracking goes by whether its own point was committed. */
async function endEach(repository: Repository, members: readonly Member[]): Promise<void> {
  for (const { instant } of members) {
    const generation = instant.disks[0]?.generation
    const isCommitted = generation !== undefined && (await holdsGeneration(repository, generation))
    await (isCommitted ? instant.commit() : instant.abort('another machine of the group could not be backed up')).catch(
      () => {
        // The journal keeps what is to be done, and recovery does it.
      },
    )
  }
}
