/** One request on its way: what its reply may look like, and where the reply's bytes go. */
import { RangeCover } from './range-cover.ts'
import { CMD } from './wire.ts'

export type StatusChunk = Readonly<{ contextId: number; lengths: number[]; flags: number[] }>

export type RequestInput = Readonly<{
  type: number
  flags: number
  offset: number
  length: number
  /** READ: filled by the reply. WRITE: sent with the request. */
  data?: Uint8Array
  signal?: AbortSignal | undefined
}>

export class PendingRequest {
  readonly input: RequestInput
  readonly cover: RangeCover | undefined
  readonly statuses: StatusChunk[] = []
  readonly settled: Promise<void>
  /** Chunks that carried no bytes; bounded, so that a reply cannot go on for ever. */
  idleChunks = 0
  /** The first error that the server reported for it. */
  serverError: { errno: number; message: string } | undefined
  /** Nobody waits any more: the bytes of its reply are thrown away. */
  abandoned = false
  startedMs = 0
  #resolve: () => void = () => {}
  #reject: (error: Error) => void = () => {}

  constructor(input: RequestInput) {
    this.input = input
    this.cover = input.type === CMD.READ ? new RangeCover(input.length) : undefined
    this.settled = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
  }

  succeed(): void {
    this.#resolve()
  }

  fail(error: Error): void {
    this.#reject(error)
  }
}
