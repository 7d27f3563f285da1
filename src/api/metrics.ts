/**
 * Figures for Prometheus: of every request here, and of everything else by whoever keeps it, asked for at each scrape.
 * Labels come from closed sets (actions, statuses) or from what administrators named: a client cannot make series.
 */
import { Counter, Gauge, Histogram, Registry } from 'prom-client'

export type Figure = Readonly<{
  name: string
  help: string
  samples: readonly Readonly<{ value: number; labels?: Readonly<Record<string, string>> }>[]
}>

/** What is told of a request once it is answered. */
export type RequestSeen = Readonly<{
  method: string
  /** Of the route; `none` when no route or no token fitted. */
  action: string
  status: number
  ms: number
}>

const SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

export class ApiMetrics {
  readonly #registry = new Registry()
  readonly #requests: Counter<'method' | 'action' | 'status'>
  readonly #seconds: Histogram<'method'>
  readonly #figures: () => Promise<readonly Figure[]>

  constructor(figures: () => Promise<readonly Figure[]>) {
    this.#figures = figures
    const registers = [this.#registry]
    this.#requests = new Counter({
      name: 'holdfast_api_requests_total',
      help: 'API requests by action and status.',
      labelNames: ['method', 'action', 'status'],
      registers,
    })
    this.#seconds = new Histogram({
      name: 'holdfast_api_request_seconds',
      help: 'How long API requests took.',
      labelNames: ['method'],
      buckets: SECONDS,
      registers,
    })
  }

  readonly observe = ({ method, action, status, ms }: RequestSeen): void => {
    this.#requests.inc({ method, action, status: String(status) })
    this.#seconds.observe({ method }, ms / 1000)
  }

  /** In the text form of Prometheus, 0.0.4. */
  async text(): Promise<string> {
    const registry = new Registry()
    for (const { name, help, samples } of await this.#figures()) {
      const labelNames = [...new Set(samples.flatMap(({ labels = {} }) => Object.keys(labels)))]
      const gauge = new Gauge({ name, help, labelNames, registers: [registry] })
      for (const { labels = {}, value } of samples) gauge.set({ ...labels }, value)
    }
    return `${await this.#registry.metrics()}\n${await registry.metrics()}`
  }
}
