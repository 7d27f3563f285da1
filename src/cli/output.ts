/**
 * Where a command's words go: results to stdout and nothing else there; progress, notes and errors to stderr. In JSON,
 * stdout holds one document and stderr at most one error document.
 */
import { type HoldfastError, type ProgressSink, silentProgress } from '#base'
import { printable } from './printable.ts'
import { ProgressBar } from './progress-bar.ts'

export type OutputFormat = 'text' | 'json'

export class Output {
  readonly format: OutputFormat
  readonly #bar: ProgressBar | undefined

  constructor(format: OutputFormat, progress: boolean) {
    this.format = format
    this.#bar = progress && format === 'text' ? new ProgressBar(process.stderr) : undefined
  }

  get progress(): ProgressSink {
    const bar = this.#bar
    return bar === undefined ? silentProgress : (state) => bar.show(state)
  }

  /** The result: `value` in JSON, else what `text` says. */
  result(value: unknown, text: () => string): void {
    this.endProgress()
    const words = this.format === 'json' ? JSON.stringify(value, undefined, 2) : text()
    if (words !== '') process.stdout.write(`${words}\n`)
  }

  /** Something worth knowing that is not the result; only for people. */
  note(sentence: string): void {
    this.endProgress()
    if (this.format === 'text') process.stderr.write(`${sentence}\n`)
  }

  error(error: HoldfastError): void {
    this.endProgress()
    process.stderr.write(this.format === 'json' ? `${JSON.stringify(errorJson(error))}\n` : errorText(error))
  }

  /** Leaves the line of the bar, so that what follows starts on a line of its own. */
  endProgress(): void {
    this.#bar?.end()
  }
}

export function errorJson({ code, message, facts, hint }: HoldfastError): unknown {
  return { error: { code, message, facts, ...(hint === undefined ? {} : { hint }) } }
}

/** Facts that only repeat what the message says anyway are left out of the text; JSON has them all. */
export function errorText(error: HoldfastError): string {
  const facts = Object.entries(error.facts)
    .filter(([name, value]) => value !== undefined && value !== null && name !== 'stack' && value !== '')
    .map(([name, value]) => [name, Array.isArray(value) ? value.join(', ') : String(value)] as const)
    .filter(([, value]) => value !== '' && !error.message.includes(value))
    .map(([name, value]) => `  ${name}: ${printable(value)}\n`)
  const hint = error.hint === undefined ? '' : `  ${error.hint}\n`
  return `holdfast: ${printable(error.message)} (${error.code})\n${facts.join('')}${hint}`
}
