/**
 * Progress on stderr: one line that is drawn over on a terminal, a plain line now and then elsewhere. Rate and time left
 * are of the last half minute or so, since disks are not equally full everywhere.
 */
import { formatBytes, type Progress } from '#base'
import { systemClock } from '#runtime'

type Terminal = Readonly<{ isTTY?: boolean; columns?: number; write(text: string): unknown }>

const REDRAW_MS = 100
const PLAIN_MS = 10_000
const WINDOW_MS = 30_000
const BAR_CELLS = 24

export class ProgressBar {
  readonly #terminal: Terminal
  #samples: { ms: number; doneBytes: number }[] = []
  #shownMs: number
  #drawn = false

  constructor(terminal: Terminal) {
    this.#terminal = terminal
    // On no terminal, what takes less than PLAIN_MS says nothing.
    this.#shownMs = terminal.isTTY === true ? Number.NEGATIVE_INFINITY : systemClock.monotonicMs()
  }

  show(progress: Progress): void {
    const ms = systemClock.monotonicMs()
    const last = this.#samples.at(-1)
    if (last !== undefined && progress.doneBytes < last.doneBytes) this.#samples = []
    if (ms - this.#shownMs < (this.#terminal.isTTY === true ? REDRAW_MS : PLAIN_MS)) return
    this.#shownMs = ms
    this.#samples = this.#samples.filter((sample) => ms - sample.ms <= WINDOW_MS)
    this.#samples.push({ ms, doneBytes: progress.doneBytes })
    this.#draw(progressLine(progress, this.#rate()))
  }

  end(): void {
    if (this.#drawn) this.#terminal.write('\r\u001b[K')
    this.#drawn = false
  }

  /** Bytes a second over the window, 0 while unknown. */
  #rate(): number {
    const first = this.#samples[0]
    const last = this.#samples.at(-1)
    if (first === undefined || last === undefined || last.ms - first.ms < 50) return 0
    return ((last.doneBytes - first.doneBytes) * 1000) / (last.ms - first.ms)
  }

  #draw(line: string): void {
    if (this.#terminal.isTTY !== true) {
      this.#terminal.write(`${line}\n`)
      return
    }
    this.#terminal.write(`\r${line.slice(0, (this.#terminal.columns ?? 80) - 1)}\u001b[K`)
    this.#drawn = true
  }
}

/** One line for people. @param rate bytes a second, 0 while unknown */
export function progressLine({ task, doneBytes, totalBytes, unit }: Progress, rate: number): string {
  const parts = [task]
  if (totalBytes > 0) {
    const share = Math.min(1, doneBytes / totalBytes)
    const full = Math.floor(share * BAR_CELLS)
    parts.push(`[${'#'.repeat(full)}${'.'.repeat(BAR_CELLS - full)}]`, `${Math.floor(share * 100)} %`)
  }
  if (unit === undefined)
    parts.push(totalBytes > 0 ? `${formatBytes(doneBytes)} of ${formatBytes(totalBytes)}` : formatBytes(doneBytes))
  if (rate > 0 && unit === undefined) parts.push(`${formatBytes(Math.round(rate))}/s`)
  if (rate > 0 && totalBytes > doneBytes) parts.push(`${formatDuration((totalBytes - doneBytes) / rate)} left`)
  return parts.join('  ')
}

/** "42 s", "3 min 05 s", "2 h 07 min". */
export function formatDuration(seconds: number): string {
  const whole = Math.ceil(seconds)
  if (whole < 60) return `${whole} s`
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, '0')} s`
  return `${Math.floor(whole / 3600)} h ${String(Math.floor((whole % 3600) / 60)).padStart(2, '0')} min`
}
