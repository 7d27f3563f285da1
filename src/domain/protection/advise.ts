/**
 * Which protection fits which need of a machine or a single disk, from figures that are known: what there is of it, what would be
 * lost now, how soon it is back, what it costs, and what it does not help against. Pure; a figure that is not known is absent,
 * never guessed.
 *
 *   undo-change     a snapshot in the disk's own region; for several disks a consistency group
 *   survive-region  a snapshot in another region
 *   long-history    recovery points: whole machines, single files, consistency with the guest, months and years
 */

export const NEEDS = ['undo-change', 'survive-region', 'long-history'] as const
export type Need = (typeof NEEDS)[number]

export type Means = 'snapshot' | 'consistency-group' | 'remote-snapshot' | 'recovery-point'

export const THREATS = ['bad-change', 'disk-deleted', 'pool-lost', 'region-lost', 'protection-deleted'] as const
export type Threat = (typeof THREATS)[number]

export type KnownSnapshot = Readonly<{
  takenMs: number
  region: string
  isIncremental: boolean
  /** Name of the consistency group that it is of. */
  group?: string | undefined
  /** What it alone uses: of the newest incremental one, what changed since the one before. */
  ownBytes?: number | undefined
}>

export type DiskFigures = Readonly<{
  id: string
  name: string
  region: string
  machine?: string | undefined
  sizeBytes: number
  usedBytes?: number | undefined
  snapshots: readonly KnownSnapshot[]
}>

export type KnownPoint = Readonly<{ machine: string; takenMs: number }>

export type Figures = Readonly<{
  nowMs: number
  disks: readonly DiskFigures[]
  /** Undefined: not known, which is not the same as none. */
  points: readonly KnownPoint[] | undefined
}>

export type Protection = Readonly<{
  need: Need
  means: Means
  /** Undefined: not known. */
  count: number | undefined
  /** What everything could be brought back to. */
  newestMs: number | undefined
  /** Age of that; undefined: everything would be lost, or it is not known. */
  losesMs: number | undefined
  back: 'at-once' | 'at-once-elsewhere'
  helpsAgainst: readonly Threat[]
  notAgainst: readonly Threat[]
  /** Bytes that the first one takes; 0 where there is one to build on. An upper bound: equal content is kept once. */
  firstBytesMax: number
  /** Bytes that change in a day, and so what one a day adds. */
  perDayBytes: number | undefined
}>

export const ADVICE_NOTES = ['no-protection', 'instants-differ', 'nothing-elsewhere', 'points-unknown'] as const
export type AdviceNote = (typeof ADVICE_NOTES)[number]

export type Advice = Readonly<{
  subject: Readonly<{ kind: 'machine' | 'disk'; name: string }>
  disks: readonly string[]
  sizeBytes: number
  /** Undefined when it is not known of every disk. */
  usedBytes: number | undefined
  perDayBytes: number | undefined
  protections: readonly Protection[]
  notes: readonly AdviceNote[]
}>

const DAY_MS = 24 * 3600 * 1000
/** Two snapshots closer than this say nothing of a day. */
const SPAN_MS_MIN = 10 * 60 * 1000

const HELPS: Readonly<Record<Means, readonly Threat[]>> = {
  snapshot: ['bad-change', 'disk-deleted', 'pool-lost'],
  'consistency-group': ['bad-change', 'disk-deleted', 'pool-lost'],
  'remote-snapshot': ['bad-change', 'disk-deleted', 'pool-lost', 'region-lost'],
  // Against a lost region where the repository lies in another; against deletion where points are locked.
  'recovery-point': ['bad-change', 'disk-deleted', 'pool-lost', 'protection-deleted'],
}

/** The sum, if every term is known. */
function sumOf(values: readonly (number | undefined)[]): number | undefined {
  let sum = 0
  for (const value of values) {
    if (value === undefined) return undefined
    sum += value
  }
  return sum
}

/** What changes in a day, by the newest incremental snapshot and the one before it. */
export function changePerDay({ region, snapshots }: DiskFigures): number | undefined {
  const family = snapshots
    .filter((snapshot) => snapshot.isIncremental && snapshot.region === region)
    .sort((a, b) => b.takenMs - a.takenMs)
  const [newest, before] = family
  if (newest?.ownBytes === undefined || before === undefined) return undefined
  const spanMs = newest.takenMs - before.takenMs
  return spanMs < SPAN_MS_MIN ? undefined : Math.round((newest.ownBytes * DAY_MS) / spanMs)
}

/** The newest instant that every disk has a snapshot of, of those that count. */
function newestOfAll(disks: readonly DiskFigures[], counts: (one: KnownSnapshot, disk: DiskFigures) => boolean) {
  const newest = disks.map((disk) =>
    Math.max(...disk.snapshots.filter((one) => counts(one, disk)).map(({ takenMs }) => takenMs)),
  )
  const oldest = Math.min(...newest)
  return Number.isFinite(oldest) ? oldest : undefined
}

/** The newest instant at which all disks were taken together. */
function newestTogether(disks: readonly DiskFigures[], isHere: (one: KnownSnapshot, disk: DiskFigures) => boolean) {
  const keyed = disks.map(
    (disk) =>
      new Map(
        disk.snapshots
          .filter((one) => one.group !== undefined && isHere(one, disk))
          .map((one) => [`${one.group}\n${one.takenMs}`, one.takenMs]),
      ),
  )
  const [first, ...others] = keyed
  const common = [...(first ?? [])].filter(([key]) => others.every((other) => other.has(key)))
  return common.length === 0 ? undefined : Math.max(...common.map(([, takenMs]) => takenMs))
}

const isHere = (one: KnownSnapshot, disk: DiskFigures): boolean => one.region === disk.region
const isElsewhere = (one: KnownSnapshot, disk: DiskFigures): boolean => one.region !== disk.region

function countOf(disks: readonly DiskFigures[], counts: (one: KnownSnapshot, disk: DiskFigures) => boolean): number {
  return disks.reduce((sum, disk) => sum + disk.snapshots.filter((one) => counts(one, disk)).length, 0)
}

function ageOf(nowMs: number, newestMs: number | undefined): number | undefined {
  return newestMs === undefined ? undefined : Math.max(0, nowMs - newestMs)
}

function protection(
  need: Need,
  means: Means,
  known: Pick<Protection, 'count' | 'newestMs' | 'losesMs' | 'firstBytesMax' | 'perDayBytes'>,
): Protection {
  return {
    need,
    means,
    ...known,
    back: means === 'remote-snapshot' ? 'at-once-elsewhere' : 'at-once',
    helpsAgainst: HELPS[means],
    notAgainst: THREATS.filter((threat) => !HELPS[means].includes(threat)),
  }
}

function adviseOn(subject: Advice['subject'], disks: readonly DiskFigures[], { nowMs, points }: Figures): Advice {
  const sizeBytes = disks.reduce((sum, disk) => sum + disk.sizeBytes, 0)
  const usedBytes = sumOf(disks.map((disk) => disk.usedBytes))
  const perDayBytes = sumOf(disks.map(changePerDay))
  const most = usedBytes ?? sizeBytes
  const several = disks.length > 1
  const newestHere = several ? newestTogether(disks, isHere) : newestOfAll(disks, isHere)
  const newestElsewhere = several ? newestTogether(disks, isElsewhere) : newestOfAll(disks, isElsewhere)
  const mine = points?.filter(({ machine }) => subject.kind === 'machine' && machine === subject.name)
  const newestPoint = mine === undefined || mine.length === 0 ? undefined : Math.max(...mine.map((one) => one.takenMs))
  const cost = (there: number) => ({ firstBytesMax: there > 0 ? 0 : most, perDayBytes })
  const [here, elsewhere] = [countOf(disks, isHere), countOf(disks, isElsewhere)]
  const protections = [
    protection('undo-change', several ? 'consistency-group' : 'snapshot', {
      count: here,
      newestMs: newestHere,
      losesMs: ageOf(nowMs, newestHere),
      ...cost(here),
    }),
    protection('survive-region', 'remote-snapshot', {
      count: elsewhere,
      newestMs: newestElsewhere,
      losesMs: ageOf(nowMs, newestElsewhere),
      ...cost(elsewhere),
    }),
    protection('long-history', 'recovery-point', {
      count: mine?.length,
      newestMs: newestPoint,
      losesMs: ageOf(nowMs, newestPoint),
      ...cost(mine?.length ?? 0),
    }),
  ]
  const none = here + elsewhere + (mine?.length ?? 0) === 0
  const apart = several && newestHere === undefined && newestOfAll(disks, isHere) !== undefined
  const notes: AdviceNote[] = [
    ...(none ? (['no-protection'] as const) : []),
    ...(apart ? (['instants-differ'] as const) : []),
    ...(elsewhere === 0 ? (['nothing-elsewhere'] as const) : []),
    ...(points === undefined ? (['points-unknown'] as const) : []),
  ]
  return { subject, disks: disks.map(({ id }) => id), sizeBytes, usedBytes, perDayBytes, protections, notes }
}

/** A machine with its disks together, disks without a machine each by itself; sorted by name, machines first. */
export function adviseProtection(figures: Figures): Advice[] {
  const attached = figures.disks.filter(({ machine }) => machine !== undefined)
  const machines = [...Map.groupBy(attached, ({ machine = '' }) => machine)].sort(([a], [b]) => (a < b ? -1 : 1))
  const alone = figures.disks
    .filter(({ machine }) => machine === undefined)
    .sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0))
  return [
    ...machines.map(([name, disks]) => adviseOn({ kind: 'machine', name }, disks, figures)),
    ...alone.map((disk) => adviseOn({ kind: 'disk', name: disk.name }, [disk], figures)),
  ]
}
