/** What the benchmark asks of a tool: commands for the steps that it can do, over one image that stays at one path. */
import type { Command } from '../measure.ts'

export const STEPS = ['full', 'scan', 'restore-raw', 'restore-qcow2', 'verify', 'verify-keyless', 'full-huge'] as const
export type Step = (typeof STEPS)[number]

export type Place = Readonly<{
  /** The image to back up; between `full` and `scan` another stands in its place. */
  image: string
  /** The image of 1 TiB. */
  hugeImage: string
  /** Where the tool keeps its repository, cache and settings; empty at the beginning of each round. */
  repository: string
  /** Where restores go; emptied before each. */
  target: string
}>

export interface Tool {
  readonly name: string
  /** The tool's version, or undefined when it is not on this machine. */
  version(): Promise<string | undefined>
  /** Unmeasured: creates the repository, or what a later step starts from. */
  prepare(place: Place): Promise<void>
  /** The steps that the tool can do. */
  commands(place: Place): Partial<Record<Step, Command>>
  /** The file that `restore-raw` leaves. */
  restored(place: Place): string
}
