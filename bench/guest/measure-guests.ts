/** Everything that is measured with machines, and its medians, in the form that is written to bench/results. */
import { type BootSample, bootMedians, measureBoots } from './boot.ts'
import { type IncrementalSample, incrementalMedian, measureIncrementals } from './incremental.ts'
import { type LatencySample, latencyMedians, measureLatency } from './latency.ts'
import { measurePauses, pauseMedians, type PauseSample } from './pause.ts'

export const GUEST_MEASURES = ['incremental', 'pause', 'latency', 'boot'] as const
export type GuestMeasure = (typeof GUEST_MEASURES)[number]

export type GuestSamples = Readonly<{
  incremental?: readonly IncrementalSample[]
  pause?: readonly PauseSample[]
  latency?: readonly LatencySample[]
  boot?: readonly BootSample[]
}>
export type GuestMedians = Readonly<{
  incremental?: ReturnType<typeof incrementalMedian>
  pause?: ReturnType<typeof pauseMedians>
  latency?: ReturnType<typeof latencyMedians>
  boot?: ReturnType<typeof bootMedians>
}>
export type GuestResults = Readonly<{ rounds: number; samples: GuestSamples; medians: GuestMedians }>

/** Runs `wanted` one after the other. Instants are cheap, hence more of them than rounds. */
export async function measureGuests(
  wanted: readonly GuestMeasure[],
  rounds: number,
  say: (text: string) => void,
): Promise<GuestResults> {
  const run = <T>(measure: GuestMeasure, act: () => Promise<T>): Promise<T | undefined> =>
    wanted.includes(measure) ? act() : Promise.resolve(undefined)
  const incremental = await run('incremental', () => measureIncrementals(rounds, say))
  const pause = await run('pause', () => measurePauses(5 * rounds, say))
  const latency = await run('latency', () => measureLatency(rounds, say))
  const boot = await run('boot', () => measureBoots(rounds, say))
  return {
    rounds,
    samples: {
      ...(incremental === undefined ? {} : { incremental }),
      ...(pause === undefined ? {} : { pause }),
      ...(latency === undefined ? {} : { latency }),
      ...(boot === undefined ? {} : { boot }),
    },
    medians: {
      ...(incremental === undefined ? {} : { incremental: incrementalMedian(incremental) }),
      ...(pause === undefined ? {} : { pause: pauseMedians(pause) }),
      ...(latency === undefined ? {} : { latency: latencyMedians(latency) }),
      ...(boot === undefined ? {} : { boot: bootMedians(boot) }),
    },
  }
}
