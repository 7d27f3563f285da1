/** The steps of the demo as they are told: one line while each runs, a table at the end, the same as JSON in a file. */
import { formatBytes } from '#base'
import { systemClock } from '#runtime'

export type StepResult = Readonly<{ result: string; bytesRead?: number; bytesStored?: number }>
export type StepRow = StepResult & Readonly<{ step: string; seconds: number; ok: boolean }>

export class Story {
  readonly rows: StepRow[] = []

  /** Runs a step, measured. A step that throws is told as failed and ends the story. */
  async step(name: string, act: () => Promise<StepResult>): Promise<void> {
    process.stdout.write(`${name} ... `)
    const startMs = systemClock.monotonicMs()
    const seconds = (): number => Math.round((systemClock.monotonicMs() - startMs) / 10) / 100
    try {
      const result = await act()
      this.rows.push({ step: name, seconds: seconds(), ok: true, ...result })
      process.stdout.write(`${seconds().toFixed(1)} s: ${result.result}\n`)
    } catch (error) {
      this.rows.push({
        step: name,
        seconds: seconds(),
        ok: false,
        result: error instanceof Error ? error.message : String(error),
      })
      process.stdout.write(`FAILED after ${seconds().toFixed(1)} s\n`)
      throw error
    }
  }

  table(): string {
    const bytes = (value: number | undefined): string => (value === undefined ? '' : formatBytes(value))
    const lines = this.rows.map((row) => [
      row.ok ? 'ok' : 'FAILED',
      row.step,
      `${row.seconds.toFixed(2)} s`,
      bytes(row.bytesRead),
      bytes(row.bytesStored),
      row.result.split('\n')[0] ?? '',
    ])
    const head = ['', 'step', 'time', 'read', 'stored', 'result']
    const widths = head.map((_, i) => Math.max(...[head, ...lines].map((line) => line[i]?.length ?? 0)))
    return [head, ...lines]
      .map((line) =>
        line
          .map((cell, i) =>
            i === 2 || i === 3 || i === 4 ? cell.padStart(widths[i] ?? 0) : cell.padEnd(widths[i] ?? 0),
          )
          .join('  ')
          .trimEnd(),
      )
      .join('\n')
  }
}

/** A check of the demo; `what` is said when it does not hold. */
export function expect(condition: boolean, what: string): asserts condition {
  if (!condition) throw new Error(`Not so: ${what}`)
}
