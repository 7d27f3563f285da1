/** What one run of the benchmark measured, in the form that is written to bench/results. */
import type { BenchData } from './data.ts'
import type { GuestResults } from './guest/measure-guests.ts'
import type { Machine } from './machine.ts'
import { type Measurement, median } from './measure.ts'
import type { ServeResult } from './serve.ts'
import type { Step } from './tools/tool.ts'

export type Sample = Readonly<
  Omit<Measurement, 'stdout'> & { tool: string; step: Step; round: number; storedBytes: number }
>
export type Figures = Readonly<{ seconds: number; cpuSeconds: number; rssPeakBytes: number; storedBytes: number }>
export type Medians = Readonly<Record<string, Partial<Record<Step, Figures>>>>

export type Results = Readonly<{
  date: string
  machine: Machine
  versions: Readonly<Record<string, string>>
  data: Omit<BenchData, 'baseImage' | 'changedImage' | 'hugeImage'>
  rounds: number
  samples: readonly Sample[]
  medians: Medians
  serve?: ServeResult | undefined
  guests?: GuestResults | undefined
}>

/** Medians of each tool's steps; memory is the largest seen. */
export function mediansOf(samples: readonly Sample[]): Medians {
  const medians: Record<string, Partial<Record<Step, Figures>>> = {}
  for (const [tool, own] of Map.groupBy(samples, (sample) => sample.tool)) {
    const steps: Partial<Record<Step, Figures>> = {}
    for (const [step, same] of Map.groupBy(own, (sample) => sample.step)) {
      steps[step] = {
        seconds: median(same.map((sample) => sample.seconds)),
        cpuSeconds: median(same.map((sample) => sample.cpuSeconds)),
        rssPeakBytes: Math.max(...same.map((sample) => sample.rssPeakBytes)),
        storedBytes: median(same.map((sample) => sample.storedBytes)),
      }
    }
    medians[tool] = steps
  }
  return medians
}
