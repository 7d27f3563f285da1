/** The S3 store against a real Ceph RADOS Gateway: the contract with and without object lock, and what only S3 has. */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, before, describe, it } from 'node:test'
import {
  CreateBucketCommand,
  DeleteObjectCommand,
  ListObjectVersionsCommand,
  PutBucketVersioningCommand,
  PutObjectCommand,
  S3Client,
} from '@aws-sdk/client-s3'
import { MIB } from '#base'
import { systemClock } from '#runtime'
import {
  describeBlobStore,
  listAll,
  positionedBytes,
  rejectsWith,
} from '../../src/engine/repository/blob-store.contract.ts'
import { S3Store } from '../../src/engine/repository/stores/s3-store.ts'
import type { S3Descriptor } from '../../src/engine/repository/stores/store-location.ts'
import { type Rgw, rgwMissing, startRgw } from './rgw.ts'

const missing = rgwMissing()
if (missing !== undefined) console.log(`The S3 store is not tested against a real server: ${missing}`)

describe('S3Store on a Ceph RADOS Gateway', { skip: missing ?? false }, () => {
  let rgw: Rgw
  let admin: S3Client

  before(async () => {
    rgw = await startRgw()
    process.env['AWS_ACCESS_KEY_ID'] = rgw.accessKey
    process.env['AWS_SECRET_ACCESS_KEY'] = rgw.secretKey
    admin = new S3Client({ endpoint: rgw.endpoint, region: 'us-east-1', forcePathStyle: true })
    await admin.send(new CreateBucketCommand({ Bucket: 'plain' }))
    await admin.send(new CreateBucketCommand({ Bucket: 'versioned' }))
    await admin.send(new CreateBucketCommand({ Bucket: 'locked', ObjectLockEnabledForBucket: true }))
  })

  after(async () => {
    admin?.destroy()
    await rgw?.stop()
  })

  const where = (bucket: string): S3Descriptor => ({
    kind: 's3',
    bucket,
    prefix: `${randomUUID()}/`,
    endpoint: rgw.endpoint,
  })

  describeBlobStore('an S3 store', async (t) => {
    const store = await S3Store.open(where('plain'), { create: true })
    t.after(() => store.close())
    return store
  })

  describeBlobStore(
    'an S3 store with object lock',
    async (t) => {
      const store = await S3Store.open(where('locked'), { create: true })
      t.after(() => store.close())
      return store
    },
    { nowMs: () => systemClock.nowMs(), manyKeys: 1100, largeBytes: 8 * MIB },
  )

  it('a lock ends, and then the object can be deleted without leaving a version', async () => {
    const place = where('locked')
    const store = await S3Store.open(place)
    await store.put('packs/a', [positionedBytes(1, 100)])
    await store.put('packs/ab', [positionedBytes(2, 100)])
    await store.lock('packs/a', systemClock.nowMs() + 2000)
    await rejectsWith(store.delete('packs/a'), 'blob_locked')
    await systemClock.sleep(3500) // the server's own clock decides: there is nothing else to wait on
    await store.delete('packs/a')
    const left = await admin.send(new ListObjectVersionsCommand({ Bucket: 'locked', Prefix: place.prefix }))
    assert.deepEqual(
      left.Versions?.map((version) => version.Key),
      [`${place.prefix}packs/ab`],
    )
    assert.equal(left.DeleteMarkers, undefined)
    await store.close()
  })

  it('newer versions and delete markers of whoever has the credentials neither change nor hide an object', async () => {
    const place = where('locked')
    const store = await S3Store.open(place)
    const named = { Bucket: 'locked', Key: `${place.prefix}packs/a` }
    await store.put('packs/a', [positionedBytes(1, 100)])
    await store.lock('packs/a', systemClock.nowMs() + 60_000)
    await admin.send(new DeleteObjectCommand(named))
    await admin.send(new PutObjectCommand({ ...named, Body: positionedBytes(2, 77) }))
    await admin.send(new DeleteObjectCommand(named))
    for (const reader of [store, await S3Store.open(place)]) {
      assert.deepEqual(Buffer.from(await reader.get('packs/a')), Buffer.from(positionedBytes(1, 100)))
      assert.equal(await reader.head('packs/a'), 100)
      assert.deepEqual(await listAll(reader, ''), [{ key: 'packs/a', sizeBytes: 100 }])
      assert.equal(await reader.put('packs/a', [positionedBytes(3, 100)]), 'exists')
      await rejectsWith(reader.delete('packs/a'), 'blob_locked')
      assert.equal(await reader.head('packs/a'), 100)
      await reader.close()
    }
  })

  it('a server that replaces despite If-None-Match is refused before a repository is created', async () => {
    const Status = 'Enabled'
    await admin.send(new PutBucketVersioningCommand({ Bucket: 'versioned', VersioningConfiguration: { Status } }))
    await rejectsWith(S3Store.open(where('versioned'), { create: true }), 'store_location_invalid')
  })

  it('open() tells a missing bucket and refused credentials, and never shows the secret', async () => {
    await rejectsWith(S3Store.open(where('nowhere')), 'store_location_invalid')
    const secret = process.env['AWS_SECRET_ACCESS_KEY']
    process.env['AWS_SECRET_ACCESS_KEY'] = 'wrong-secret'
    const refused: unknown = await S3Store.open(where('plain')).catch((error: unknown) => error)
    process.env['AWS_SECRET_ACCESS_KEY'] = secret
    assert.match(String(refused), /refuses the credentials/)
    assert.doesNotMatch(JSON.stringify([refused, String(refused)]), /wrong-secret/)
  })
})
