/**
 * What the listener serves besides Resource Manager: signed URLs to disks and to machines' logs under `/blob/`, and storage accounts by path. It takes
 * the request before its body is read: bodies stream, and are bounded where they are taken.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { isHoldfastError, messageOf, randomUuid } from '#base'
import type { Logger } from '#runtime'
import type { ArmHost } from '../arm/call.ts'
import { armErrorOf } from '../arm/error-reply.ts'
import { ACCOUNT_NAME, RESERVED_NAMES } from './account-name.ts'
import { answerError, BlobRefusal, type BlobRequest } from './blob-http.ts'
import { DiskBlobs } from './disk-blob.ts'
import { serveMachineBlob } from '../providers/compute/machines/boot-diagnostics.ts'
import { StorageBlobs } from './storage-blobs.ts'
import { findAccount } from './storage-files.ts'

export class BlobFace {
  readonly #host: ArmHost
  readonly #logger: Logger
  readonly #disks: DiskBlobs
  readonly #accounts: StorageBlobs

  constructor(host: ArmHost, logger: Logger) {
    this.#host = host
    this.#logger = logger
    this.#disks = new DiskBlobs(host)
    this.#accounts = new StorageBlobs(host)
  }

  /** Whether the path is one of these; then it has been answered. Never rejects. */
  async take(request: IncomingMessage, response: ServerResponse, hijack: () => void): Promise<boolean> {
    const [first = ''] = (request.url ?? '').slice(1).split(/[/?]/, 1)
    if (first === 'blob') {
      hijack()
      await this.#answer(request, response, (call) =>
        call.url.pathname.startsWith('/blob/machine/') ? serveMachineBlob(this.#host, call) : this.#disks.serve(call),
      )
      return true
    }
    if (!ACCOUNT_NAME.test(first) || RESERVED_NAMES.has(first)) return false
    const account = await findAccount(this.#host, first).catch(() => undefined)
    if (account === undefined) return false
    hijack()
    await this.#answer(request, response, (call) => this.#accounts.serve(call, account))
    return true
  }

  async #answer(
    request: IncomingMessage,
    response: ServerResponse,
    serve: (call: BlobRequest) => Promise<void>,
  ): Promise<void> {
    const requestId = randomUuid(this.#host.random)
    const gone = new AbortController()
    response.once('close', () => {
      if (!response.writableFinished) gone.abort()
    })
    const call = { method: request.method ?? 'GET', request, response, requestId }
    try {
      const url = new URL(request.url ?? '/', 'https://localhost')
      const header = (name: string): string | undefined => {
        const value = request.headers[name]
        return Array.isArray(value) ? value.join(', ') : value
      }
      await serve({ ...call, url, header, signal: gone.signal })
    } catch (error) {
      if (gone.signal.aborted || response.headersSent) return void response.destroy()
      answerError(call, this.#refusalOf(error, requestId))
    }
  }

  #refusalOf(error: unknown, requestId: string): BlobRefusal {
    if (error instanceof BlobRefusal) return error
    const known = armErrorOf(error)
    this.#logger.warn({ error: messageOf(error), requestId }, 'a request for bytes failed')
    if (known === undefined || !isHoldfastError(error))
      return new BlobRefusal(
        500,
        'InternalError',
        `Holdfast failed; its log tells more under the request id ${requestId}.`,
      )
    const status = known.status === 400 ? 500 : known.status
    return new BlobRefusal(status, status === 503 ? 'ServerBusy' : known.code, known.message)
  }
}
