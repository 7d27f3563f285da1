/** Bodies into files: whole and durable when it resolves, or removed. */
import { createHash } from 'node:crypto'
import { createReadStream, createWriteStream } from 'node:fs'
import { rm } from 'node:fs/promises'
import { pipeline } from 'node:stream/promises'
import { errnoOf } from '#base'
import { BlobRefusal, type BlobRequest } from './blob-http.ts'

/** Streams the body into a new file. @throws BlobRefusal when it is not what was announced */
export async function receive(
  at: Pick<BlobRequest, 'request' | 'header' | 'signal'>,
  path: string,
): Promise<Readonly<{ sizeBytes: number; md5: string }>> {
  const hash = createHash('md5')
  let sizeBytes = 0
  const expected = Number(at.header('content-length') ?? Number.NaN)
  try {
    await pipeline(
      at.request,
      async function* (parts: AsyncIterable<Buffer>) {
        for await (const part of parts) {
          hash.update(part)
          sizeBytes += part.length
          yield part
        }
      },
      createWriteStream(path, { flags: 'wx', mode: 0o600, flush: true }),
      { signal: at.signal },
    )
    if (Number.isSafeInteger(expected) && expected !== sizeBytes)
      throw new BlobRefusal(400, 'IncompleteBody', 'The body ended early.')
    const md5 = hash.digest('base64')
    const given = at.header('content-md5')
    if (given !== undefined && given !== md5)
      throw new BlobRefusal(
        400,
        'Md5Mismatch',
        'The MD5 value specified in the request did not match what was received.',
      )
    return { sizeBytes, md5 }
  } catch (error) {
    await rm(path, { force: true })
    throw error
  }
}

/** The blocks one after the other. @throws BlobRefusal when one is missing */
export async function joinFiles(paths: readonly string[], target: string): Promise<number> {
  const out = createWriteStream(target, { flags: 'wx', mode: 0o600, flush: true })
  try {
    async function* all(): AsyncGenerator<Buffer> {
      for (const path of paths) yield* createReadStream(path) as AsyncIterable<Buffer>
    }
    await pipeline(all, out)
    return out.bytesWritten
  } catch (error) {
    await rm(target, { force: true })
    if (errnoOf(error) === 'ENOENT')
      throw new BlobRefusal(400, 'InvalidBlockList', 'A block of the list was not uploaded.')
    throw error
  }
}
