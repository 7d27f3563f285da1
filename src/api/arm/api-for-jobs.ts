/** The API as jobs ask it (`ApiHost`): requests from inside in a caller's name, and blobs of storage accounts. */
import { createHash } from 'node:crypto'
import { randomUuid } from '#base'
import { findResource } from '#catalog'
import { createFileOnce } from '#runtime'
import type { ApiCaller, ApiHost, ApiOutcome, ApiResource, BlobToWrite } from '#jobs'
import { accountFolder, ContainerFiles } from '../blob/storage-files.ts'
import type { ArmHost } from './call.ts'
import { armErrorOf } from './error-reply.ts'
import { type InsideAnswer, pathOf } from './inside.ts'
import { outcomeOfLook, outcomeOfPut } from '../providers/resources/deployments/part-answer.ts'

/** What is wrong with the request is its outcome; anything else is a fault of ours, and thrown. */
async function orRefused(ask: () => Promise<ApiOutcome>): Promise<ApiOutcome> {
  try {
    return await ask()
  } catch (error) {
    const known = armErrorOf(error)
    if (known === undefined) throw error
    return { kind: 'failed', error: { code: known.code, message: known.message } }
  }
}

export class ApiForJobs implements ApiHost {
  readonly #host: ArmHost

  constructor(host: ArmHost) {
    this.#host = host
  }

  put(caller: ApiCaller, resource: ApiResource, signal: AbortSignal): Promise<ApiOutcome> {
    return this.#change('PUT', caller, resource, signal)
  }

  remove(caller: ApiCaller, resource: ApiResource, signal: AbortSignal): Promise<ApiOutcome> {
    return this.#change('DELETE', caller, resource, signal)
  }

  look(caller: ApiCaller, url: string, signal: AbortSignal): Promise<ApiOutcome> {
    return orRefused(async () => {
      const answer = await this.#ask(caller, 'GET', url, undefined, signal)
      signal.throwIfAborted()
      return outcomeOfLook(answer, url)
    })
  }

  async writeBlobs(account: string, container: string, blobs: readonly BlobToWrite[]): Promise<boolean> {
    const record = await findResource(this.#host.catalog, account)
    if (record === undefined) return false
    const files = new ContainerFiles(accountFolder(record), container, this.#host.random)
    await files.create()
    const nowMs = this.#host.clock.nowMs()
    for (const { name, contentType, text } of blobs) {
      const bytes = new TextEncoder().encode(text)
      const data = files.newDataName()
      await createFileOnce(files.path(data), [bytes])
      await files.put({
        name,
        type: 'BlockBlob',
        data,
        sizeBytes: bytes.length,
        etag: `"0x${randomUuid(this.#host.random).replaceAll('-', '').slice(0, 16).toUpperCase()}"`,
        createdMs: nowMs,
        modifiedMs: nowMs,
        contentType,
        contentMd5: createHash('md5').update(bytes).digest('base64'),
        metadata: {},
      })
    }
    return true
  }

  #change(method: 'PUT' | 'DELETE', caller: ApiCaller, resource: ApiResource, signal: AbortSignal) {
    const { id, apiVersion, body } = resource
    return orRefused(async () => {
      const target = `${pathOf(id)}?api-version=${encodeURIComponent(apiVersion)}`
      const answer = await this.#ask(caller, method, target, body, signal)
      signal.throwIfAborted()
      return outcomeOfPut(answer, id, apiVersion)
    })
  }

  #ask(
    { principal, baseUrl, correlationId }: ApiCaller,
    method: 'GET' | 'PUT' | 'DELETE',
    target: string,
    body: unknown,
    signal: AbortSignal,
  ): Promise<InsideAnswer> {
    const request = { method, target, baseUrl, correlationId, signal, ...(body !== undefined && { body }) }
    return this.#host.inside.ask(principal, request)
  }
}
