/** The S3 store against a peer that fails on the wire as servers and networks do. The contract runs in test/stores/. */
import assert from 'node:assert/strict'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, it, type TestContext } from 'node:test'
import { isHoldfastError } from '#base'
import { listAll, positionedBytes, rejectsWith } from '../blob-store.contract.ts'
import type { StoreError } from '../errors.ts'
import { S3Store } from './s3-store.ts'

type Answer = (request: IncomingMessage, response: ServerResponse) => void

process.env['AWS_ACCESS_KEY_ID'] = 'test-access'
process.env['AWS_SECRET_ACCESS_KEY'] = 'test-secret'

/** An S3 store without object lock whose requests are answered by `answer`. */
async function storeAnsweredBy(t: TestContext, answer: Answer): Promise<S3Store> {
  const server = createServer((request, response) => {
    if (request.url?.includes('object-lock') === true)
      return fail(response, 404, 'ObjectLockConfigurationNotFoundError')
    answer(request, response)
  })
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve))
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const timeouts = { connectMs: 1000, idleMs: 150 }
  const store = await S3Store.open({ kind: 's3', bucket: 'bucket', prefix: 'p/', endpoint }, { timeouts })
  t.after(() => store.close())
  return store
}

function fail(response: ServerResponse, status: number, code: string): void {
  response.writeHead(status, { 'content-type': 'application/xml' })
  response.end(`<?xml version="1.0"?><Error><Code>${code}</Code><Message>${code}</Message></Error>`)
}

async function errorOf(promise: Promise<unknown>): Promise<StoreError> {
  const error: unknown = await promise.then(
    () => assert.fail('it did not fail'),
    (cause: unknown) => cause,
  )
  assert.ok(isHoldfastError(error), String(error))
  return error as StoreError
}

const bytes = positionedBytes(1, 1000)

describe('S3Store on a bad network', () => {
  it('a connection that breaks after the bytes were sent may be tried again', async (t) => {
    let requests = 0
    const store = await storeAnsweredBy(t, (request) => {
      requests += 1
      request.resume().on('end', () => request.socket.destroy())
    })
    const error = await errorOf(store.put('packs/a', [bytes]))
    assert.deepEqual([error.code, error.retry, requests], ['store_unavailable', 'now', 1])
  })

  it('a server that falls silent is given up, before and within the body', async (t) => {
    let first = true
    const store = await storeAnsweredBy(t, (_request, response) => {
      if (!first) {
        response.writeHead(200, { 'content-length': '1000' })
        response.write(bytes.subarray(0, 500))
      }
      first = false
    })
    for (let i = 0; i < 2; i += 1) {
      const error = await errorOf(store.get('packs/a'))
      assert.deepEqual([error.code, error.retry], ['store_unavailable', 'now'])
    }
  })

  it('a body that ends early is never given as the object', async (t) => {
    const store = await storeAnsweredBy(t, (_request, response) => {
      response.writeHead(200, { 'content-length': '1000' })
      response.write(bytes.subarray(0, 999), () => response.destroy())
    })
    const error = await errorOf(store.get('packs/a'))
    assert.deepEqual([error.code, error.retry], ['store_unavailable', 'now'])
  })

  it('an object that is larger than any of ours is not read', async (t) => {
    const store = await storeAnsweredBy(t, (_request, response) => {
      response.writeHead(200, { 'content-length': String(2 ** 30 + 1) })
      response.write(bytes)
    })
    assert.equal((await errorOf(store.get('packs/a'))).code, 'blob_too_large')
  })

  it('a range that the server shortens or ignores is an error', async (t) => {
    const answers: Answer[] = [
      (_request, response) =>
        response.writeHead(206, { 'content-range': 'bytes 100-149/1000' }).end(bytes.subarray(100, 150)),
      (_request, response) => response.writeHead(200, { 'content-length': '1000' }).end(bytes),
    ]
    const store = await storeAnsweredBy(t, (request, response) => {
      if (request.method === 'HEAD') response.writeHead(200, { 'content-length': '1000' }).end()
      else answers.shift()?.(request, response)
    })
    for (let i = 0; i < 2; i += 1) await rejectsWith(store.getRange('packs/a', 100, 100), 'store_unavailable')
  })

  it('answers mean what they say: busy, conflict, full, forbidden, wrong bucket, unknown', async (t) => {
    const cases = [
      [503, 'SlowDown', 'store_unavailable', 'now'],
      [500, 'InternalError', 'store_unavailable', 'now'],
      [409, 'ConditionalRequestConflict', 'store_unavailable', 'now'],
      [403, 'QuotaExceeded', 'store_full', 'later'],
      [403, 'AccessDenied', 'store_read_only', 'later'],
      [403, 'SignatureDoesNotMatch', 'store_unavailable', 'later'],
      [403, 'RequestTimeTooSkewed', 'store_unavailable', 'later'],
      [404, 'NoSuchBucket', 'store_location_invalid', 'never'],
      [301, 'PermanentRedirect', 'store_location_invalid', 'never'],
      [501, 'NotImplemented', 'store_location_invalid', 'never'],
      [400, 'InvalidRequest', 'store_unavailable', 'later'],
    ] as const
    let current: (typeof cases)[number] = cases[0]
    const store = await storeAnsweredBy(t, (_request, response) => fail(response, current[0], current[1]))
    for (current of cases) {
      const error = await errorOf(store.put('packs/a', [bytes]))
      assert.deepEqual([current[1], error.code, error.retry], [current[1], current[2], current[3]])
      assert.doesNotMatch(JSON.stringify(error) + String(error.cause), /test-secret/)
    }
  })

  it('who may not ask whether the bucket locks objects is told so: the answer decides how objects are created', async (t) => {
    const server = createServer((_request, response) => fail(response, 403, 'AccessDenied'))
    await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve))
    t.after(() => server.close())
    const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    const error = await errorOf(S3Store.open({ kind: 's3', bucket: 'bucket', prefix: '', endpoint }))
    assert.equal(error.code, 'store_unavailable')
    assert.match(error.hint ?? '', /GetBucketObjectLockConfiguration/)
  })

  it('a HEAD without an object is not trusted when the bucket is gone too', async (t) => {
    const store = await storeAnsweredBy(t, (_request, response) => response.writeHead(404).end())
    await rejectsWith(store.head('packs/a'), 'store_location_invalid')
  })

  it('a listing out of order, or one that does not name its next page, is an error and not an end', async (t) => {
    const pages = [
      '<IsTruncated>false</IsTruncated><Contents><Key>p/b</Key><Size>1</Size></Contents><Contents><Key>p/a</Key><Size>1</Size></Contents>',
      '<IsTruncated>true</IsTruncated><Contents><Key>p/a</Key><Size>1</Size></Contents>',
    ]
    const store = await storeAnsweredBy(t, (_request, response) => {
      response.end(`<?xml version="1.0"?><ListBucketResult><Name>bucket</Name>${pages.shift()}</ListBucketResult>`)
    })
    await rejectsWith(listAll(store, ''), 'store_unavailable')
    await rejectsWith(listAll(store, ''), 'store_unavailable')
  })
})
