import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { isHoldfastError } from '#base'
import { openStore } from './open-store.ts'
import { formatStoreLocation, parseStoreLocation } from './store-location.ts'

describe('parseStoreLocation()', () => {
  it('reads folders and buckets, and writes them as they were', () => {
    assert.deepEqual(parseStoreLocation('/srv/backup'), { kind: 'folder', path: '/srv/backup' })
    assert.deepEqual(parseStoreLocation('file:///srv/my%20backup'), { kind: 'folder', path: '/srv/my backup' })
    assert.deepEqual(parseStoreLocation('s3://vault-1'), { kind: 's3', bucket: 'vault-1', prefix: '' })
    const text = 's3://vault-1/site/a/?endpoint=http%3A%2F%2F127.0.0.1%3A7480&region=eu-central-1'
    assert.deepEqual(parseStoreLocation(text.replace('a/?', 'a?')), {
      kind: 's3',
      bucket: 'vault-1',
      prefix: 'site/a/',
      endpoint: 'http://127.0.0.1:7480',
      region: 'eu-central-1',
    })
    assert.equal(formatStoreLocation(parseStoreLocation(text)), text)
  })

  it('refuses what it does not know, by name, and secrets above all', () => {
    const refused = [
      ['', /empty/],
      ['azure://account/container', /azure/],
      ['s3:bucket', /s3:\/\/bucket/],
      ['s3://key:secret@bucket/prefix', /Credentials/],
      ['s3://bucket/p?secret=abc', /secret"/],
      ['s3://bucket/p?endpoint=ftp://host', /endpoint/],
      ['s3://bucket/p?endpoint=http://a:b@host', /endpoint/],
      ['s3://bucket/a//b', /prefix/],
      ['file://elsewhere/srv', /machine/],
    ] as const
    for (const [text, message] of refused) {
      assert.throws(
        () => parseStoreLocation(text),
        (error) => isHoldfastError(error, 'store_location_invalid') && message.test(error.message),
        text,
      )
    }
  })

  it('openStore() gives the same memory store to all who name it', async () => {
    const one = await openStore('memory:one')
    await one.put('a', [])
    assert.equal(await (await openStore({ kind: 'memory', name: 'one' })).head('a'), 0)
    assert.equal(await (await openStore('memory:two')).head('a'), undefined)
  })
})
