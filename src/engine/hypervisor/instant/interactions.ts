/**
 * What may happen to one machine at the same time. Rows arrive, columns are under way; every cell has its reason.
 *
 *                 instant        instant        hydration     resize        attach,       stop          migration
 *                 wanted         open                                       detach
 *   backup        join           wait           run           wait          wait          wait          wait
 *   replication   join           wait           run           wait          wait          wait          wait
 *   snapshot      join           wait           run           wait          wait          wait          wait
 *   hydration     run            wait           run           wait          wait          break off     wait
 *   resize        wait           wait           wait          wait          wait          wait          wait
 *   attach,detach wait           wait           run           wait          wait          wait          wait
 *   stop          break off      break off      break off     wait          wait          join          break off
 *   migration     wait           wait           wait          wait          wait          refuse        refuse
 *
 *   join       Two that both wait for an instant get the same one, if it suits both (`canShare`). One that is open already
 *              shows a moment before the request: a snapshot made now must hold what was written a second ago, so wait.
 *   run        Hydration (block-stream) moves bytes nearer and changes none. It does not begin under an open instant,
 *              because the filter then sits where its own filter goes.
 *   wait       QEMU refuses a resize under a filter; a disk that comes or goes would be missing from the instant; a stopping
 *              machine is waited for and then read offline.
 *   break off  A user's stop does not wait for us: the instant is aborted (its tracking is merged back), then the machine
 *              stops. Its consumer gets `instant_broken` and takes the stopped machine's instant.
 *   refuse     A machine that stops, or migrates already, cannot migrate.
 *
 * QEMU's death needs no cell: it ends whatever is under way, and recovery and tracking.ts judge what is left.
 */
import type { OpenInstantOptions } from '../port.ts'

export const CONSUMERS = ['backup', 'replication', 'snapshot'] as const
export const OPERATIONS = ['hydration', 'resize', 'attach_detach', 'stop', 'migration'] as const
export type Consumer = (typeof CONSUMERS)[number]
export type Operation = (typeof OPERATIONS)[number]
export type Arriving = Consumer | Operation
/** `instant_wanted`: others wait for an instant that is not taken yet. */
export type UnderWay = 'instant_wanted' | 'instant_open' | Operation
export type Ruling = 'join' | 'run' | 'wait' | 'break_off' | 'refuse'

const CONSUMER_RULINGS: Readonly<Record<UnderWay, Ruling>> = {
  instant_wanted: 'join',
  instant_open: 'wait',
  hydration: 'run',
  resize: 'wait',
  attach_detach: 'wait',
  stop: 'wait',
  migration: 'wait',
}

const RULINGS: Readonly<Record<Arriving, Readonly<Record<UnderWay, Ruling>>>> = {
  backup: CONSUMER_RULINGS,
  replication: CONSUMER_RULINGS,
  snapshot: CONSUMER_RULINGS,
  hydration: {
    instant_wanted: 'run',
    instant_open: 'wait',
    hydration: 'run',
    resize: 'wait',
    attach_detach: 'wait',
    stop: 'break_off',
    migration: 'wait',
  },
  resize: {
    instant_wanted: 'wait',
    instant_open: 'wait',
    hydration: 'wait',
    resize: 'wait',
    attach_detach: 'wait',
    stop: 'wait',
    migration: 'wait',
  },
  attach_detach: {
    instant_wanted: 'wait',
    instant_open: 'wait',
    hydration: 'run',
    resize: 'wait',
    attach_detach: 'wait',
    stop: 'wait',
    migration: 'wait',
  },
  stop: {
    instant_wanted: 'break_off',
    instant_open: 'break_off',
    hydration: 'break_off',
    resize: 'wait',
    attach_detach: 'wait',
    stop: 'join',
    migration: 'break_off',
  },
  migration: {
    instant_wanted: 'wait',
    instant_open: 'wait',
    hydration: 'wait',
    resize: 'wait',
    attach_detach: 'wait',
    stop: 'refuse',
    migration: 'refuse',
  },
}

/** One cell of the matrix. */
export function rule(arriving: Arriving, underWay: UnderWay): Ruling {
  return RULINGS[arriving][underWay]
}

const SEVERITY: readonly Ruling[] = ['run', 'join', 'wait', 'break_off', 'refuse']

/** The strictest ruling over all that is under way; `run` when nothing is. */
export function ruleAll(arriving: Arriving, underWay: readonly UnderWay[]): Ruling {
  const rulings = underWay.map((one) => rule(arriving, one))
  return rulings.reduce(
    (worst, one) => (SEVERITY.indexOf(one) > SEVERITY.indexOf(worst) ? one : worst),
    'run' as Ruling,
  )
}

/**
 * Whether one instant serves both requests: the same disks, the same tracking (they land in the same repository, so what is
 * changed for one is changed for the other), and at least the consistency that the second asks for.
 */
export function canShare(first: OpenInstantOptions, second: OpenInstantOptions): boolean {
  const luns = (options: OpenInstantOptions): string => (options.excludeLuns ?? []).toSorted((a, b) => a - b).join(' ')
  if (luns(first) !== luns(second)) return false
  if ((first.strict ?? false) !== (second.strict ?? false) || first.consistency !== second.consistency) return false
  const [one, two] = [first.tracking, second.tracking]
  if (one === undefined || two === undefined) return one === two
  return (
    one.tracker === two.tracker &&
    one.granularityBytes === two.granularityBytes &&
    sameRecord(one.committed, two.committed)
  )
}

function sameRecord(one: Readonly<Record<string, unknown>>, two: Readonly<Record<string, unknown>>): boolean {
  const keys = new Set([...Object.keys(one), ...Object.keys(two)])
  return [...keys].every((key) => one[key] === two[key])
}
