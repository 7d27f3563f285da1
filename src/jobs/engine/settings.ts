/** What an engine is given: where it keeps jobs, its time, its chance, who it is. */
import type { Clock, Random } from '#base'
import type { Catalog } from '#catalog'
import type { Logger, ProcessIdentity } from '#runtime'

export type EngineTiming = Readonly<{
  /** A silent owner loses its jobs after this long. Renewed every third of it. */
  leaseMs: number
  /** How often other processes' doings are looked for; our own wake us at once. */
  pollMs: number
  /** Progress is written at most this often per job. */
  progressMs: number
  /** Jobs that have been over for this long are forgotten. */
  historyMs: number
}>

export const ENGINE_TIMING_DEFAULT: EngineTiming = {
  leaseMs: 15_000,
  pollMs: 250,
  progressMs: 1000,
  historyMs: 90 * 24 * 3600 * 1000,
}

export type EngineSettings = Readonly<{
  catalog: Catalog
  clock: Clock
  random: Random
  /** The process that we are; other engines take our jobs at once when it is provably dead. */
  process: ProcessIdentity
  logger: Logger
  /** Jobs running at once in this process, whatever the queues allow. */
  slots?: number
  timing?: Partial<EngineTiming>
}>
