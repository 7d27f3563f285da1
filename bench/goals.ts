/**
 * The figures to reach (docs: "Numbers to reach"), as data: what is compared with what, and the bound. Those that need
 * machines are in guest-goals.ts.
 */
import { MIB } from '#base'
import { judgeGuests } from './guest-goals.ts'
import type { Results } from './results.ts'
import type { Step } from './tools/tool.ts'

export type Verdict = Readonly<{ what: string; measured: string; bound: string; reached: boolean | undefined }>

/** qemu-img copies: it keeps one version, unencrypted, of one disk. It is a backup tool's peer in the full backup alone. */
const PEERS: Readonly<Partial<Record<Step, readonly string[]>>> = { full: ['restic', 'borg', 'qemu-img'] }
const PEERS_OTHERWISE = ['restic', 'borg']

type Against = 'fastest other' | 'restic' | 'limit'
type Goal = Readonly<{ what: string; step: Step; against: Against; times: number; bound: 'at least' | 'within' }>

const GOALS: readonly Goal[] = [
  { what: 'full backup', step: 'full', against: 'fastest other', times: 2, bound: 'at least' },
  { what: 'full backup', step: 'full', against: 'restic', times: 4, bound: 'at least' },
  { what: 'full backup', step: 'full', against: 'limit', times: 1.2, bound: 'within' },
  { what: 'scan, 64 MiB changed', step: 'scan', against: 'fastest other', times: 3, bound: 'at least' },
  { what: 'restore to raw', step: 'restore-raw', against: 'fastest other', times: 4, bound: 'at least' },
  { what: 'restore to raw', step: 'restore-raw', against: 'limit', times: 1.4, bound: 'within' },
  { what: 'restore to qcow2', step: 'restore-qcow2', against: 'fastest other', times: 4, bound: 'at least' },
  { what: 'restore to qcow2', step: 'restore-qcow2', against: 'limit', times: 1.4, bound: 'within' },
  { what: 'verify with the key', step: 'verify', against: 'fastest other', times: 2, bound: 'at least' },
]
const KEYLESS_TIMES = 8
const RSS_BYTES_MAX = 400 * MIB
const SEQUENTIAL_BYTES_MIN = 800e6
const RANDOM_READS_MIN = 20_000

export function judge(results: Results): Verdict[] {
  const verdicts = GOALS.map((goal) => judgeGoal(results, goal))
  verdicts.push(judgeKeyless(results))
  verdicts.push(judgeMemory(results, 'backup of a 1 TiB disk', 'full-huge'))
  verdicts.push(judgeMemory(results, 'verify with the key', 'verify'))
  verdicts.push(...judgeServe(results.serve))
  return [...verdicts, ...(results.guests === undefined ? [] : judgeGuests(results.guests.medians))]
}

export function verdictTable(verdicts: readonly Verdict[]): string {
  const rows = verdicts.map(
    ({ what, measured, bound, reached }) => `| ${what} | ${measured} | ${bound} | ${verdictWord(reached)} |`,
  )
  return ['| what | measured | goal | |', '|---|---|---|---|', ...rows].join('\n')
}

function verdictWord(reached: boolean | undefined): string {
  return reached === undefined ? 'not measured' : reached ? 'reached' : '**missed**'
}

function judgeServe(serve: Results['serve']): Verdict[] {
  const rows = [
    { what: 'served NBD, sequential, decoded', rate: serve?.sequentialDecoded, min: SEQUENTIAL_BYTES_MIN, of: 'GiB' },
    { what: 'served NBD, sequential, cached', rate: serve?.sequentialCached, min: SEQUENTIAL_BYTES_MIN, of: 'GiB' },
    { what: 'served NBD, random 4 KiB, cached', rate: serve?.randomCached, min: RANDOM_READS_MIN, of: '100,000' },
  ]
  return rows.map(({ what, rate, min, of }) => {
    const show = (value: number): string =>
      of === 'GiB' ? `${Math.round(value / 1e6)} MB/s` : `${Math.round(value)} per second`
    return {
      what,
      measured:
        rate === undefined ? '-' : `${show(rate.perSecond)}, ${rate.serverCpuSeconds.toFixed(2)} CPU s per ${of}`,
      bound: `>= ${show(min)}`,
      reached: rate === undefined ? undefined : rate.perSecond >= min,
    }
  })
}

function judgeGoal(results: Results, goal: Goal): Verdict {
  const ours = secondsOf(results, 'holdfast', goal.step)
  const theirs =
    goal.against === 'fastest other'
      ? fastestOther(results, goal.step)
      : secondsOf(results, goal.against, comparableStep(goal.step))
  const known = ours !== undefined && theirs !== undefined
  const ratio = known ? (goal.bound === 'at least' ? theirs / ours : ours / theirs) : undefined
  const relation = goal.bound === 'at least' ? `times ${goal.against}` : `times the ${goal.against}`
  return {
    what: goal.what,
    measured: ratio === undefined ? '-' : `${ratio.toFixed(2)} ${relation}`,
    bound: `${goal.bound} ${goal.times} ${relation}`,
    reached: ratio === undefined ? undefined : goal.bound === 'at least' ? ratio >= goal.times : ratio <= goal.times,
  }
}

function judgeMemory(results: Results, what: string, step: Step): Verdict {
  const rss = results.medians['holdfast']?.[step]?.rssPeakBytes
  return {
    what: `memory, ${what}`,
    measured: rss === undefined ? '-' : `${Math.round(rss / MIB)} MiB`,
    bound: '<= 400 MiB',
    reached: rss === undefined ? undefined : rss <= RSS_BYTES_MAX,
  }
}

/** Without the key every stored byte is hashed; it is held against the others' full check of data. */
function judgeKeyless(results: Results): Verdict {
  const [ours, theirs] = [secondsOf(results, 'holdfast', 'verify-keyless'), fastestOther(results, 'verify')]
  const ratio = ours === undefined || theirs === undefined ? undefined : theirs / ours
  return {
    what: 'verify without the key',
    measured: ratio === undefined ? '-' : `${ratio.toFixed(2)} times fastest other`,
    bound: `at least ${KEYLESS_TIMES} times fastest other's full check`,
    reached: ratio === undefined ? undefined : ratio >= KEYLESS_TIMES,
  }
}

function secondsOf(results: Results, tool: string, step: Step): number | undefined {
  return results.medians[tool]?.[step]?.seconds
}

/** The others restore to raw only; it is the nearest that they have. */
function comparableStep(step: Step): Step {
  return step === 'restore-qcow2' ? 'restore-raw' : step
}

function fastestOther(results: Results, step: Step): number | undefined {
  const times = (PEERS[step] ?? PEERS_OTHERWISE).flatMap((tool) => secondsOf(results, tool, comparableStep(step)) ?? [])
  return times.length === 0 ? undefined : Math.min(...times)
}
