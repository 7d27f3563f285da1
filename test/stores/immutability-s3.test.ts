/** Locked points in a real bucket with object lock: what the server itself keeps, against whoever has the credentials. */
import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { CreateBucketCommand, DeleteObjectCommand, ListObjectVersionsCommand, S3Client } from '@aws-sdk/client-s3'
import { MIB } from '#base'
import { openStore } from '#engine/repository'
import { type CommandResult, runCommand, systemClock } from '#runtime'
import { positionedBytes } from '../../src/engine/repository/blob-store.contract.ts'
import { type Rgw, rgwMissing, startRgw } from './rgw.ts'

const PROGRAM = resolve(import.meta.dirname, '../../bin/holdfast')
const missing = rgwMissing()
if (missing !== undefined) console.log(`Immutability on a real S3 server is not tested: ${missing}`)

describe('Immutability on a Ceph RADOS Gateway', { skip: missing ?? false }, () => {
  let rgw: Rgw
  let folder: string
  let admin: S3Client

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'holdfast-s3-'))
    rgw = await startRgw()
    process.env['AWS_ACCESS_KEY_ID'] = rgw.accessKey
    process.env['AWS_SECRET_ACCESS_KEY'] = rgw.secretKey
    admin = new S3Client({ endpoint: rgw.endpoint, region: 'us-east-1', forcePathStyle: true })
    await admin.send(new CreateBucketCommand({ Bucket: 'plain' }))
    await admin.send(new CreateBucketCommand({ Bucket: 'locked', ObjectLockEnabledForBucket: true }))
  })

  after(async () => {
    admin?.destroy()
    await rgw?.stop()
    await rm(folder, { recursive: true, force: true })
  })

  function holdfast(...args: string[]): Promise<CommandResult> {
    const env = {
      AWS_ACCESS_KEY_ID: rgw.accessKey,
      AWS_SECRET_ACCESS_KEY: rgw.secretKey,
      HOLDFAST_PASSPHRASE: 'correct horse',
      XDG_CACHE_HOME: join(folder, 'cache'),
    }
    return runCommand(PROGRAM, ['repo', ...args, '--output', 'json'], { env, timeoutMs: 120_000 })
  }

  async function succeeds(...args: string[]): Promise<Record<string, unknown>> {
    const { exitCode, stdout, stderr } = await holdfast(...args)
    assert.equal(exitCode, 0, stderr)
    return JSON.parse(stdout.toString('utf8')) as Record<string, unknown>
  }

  async function refused(...args: string[]): Promise<string> {
    const { exitCode, stderr } = await holdfast(...args)
    assert.notEqual(exitCode, 0)
    return /"code":\s*"([a-z_]+)"/.exec(stderr)?.[1] ?? stderr
  }

  const at = (bucket: string): string => `s3://${bucket}/site-a?endpoint=${rgw.endpoint}`

  it('a store tells the time of its server', async () => {
    for (const bucket of ['plain', 'locked']) {
      const store = await openStore(at(bucket))
      const storeMs = await store.timeMs()
      assert.ok(storeMs !== undefined && Math.abs(storeMs - systemClock.nowMs()) < 60_000)
      await store.close()
    }
  })

  it('a bucket without object lock takes no locked point and no policy, and says so', async () => {
    const image = join(folder, 'plain.img')
    await writeFile(image, positionedBytes(1, 2 * MIB))
    await succeeds('init', at('plain'))
    assert.equal(await refused('immutability', at('plain'), '--state', 'unlocked', '--days', '3'), 'lock_failed')
    const disk = ['--machine', 'm', '--disk', `0=raw:${image}`]
    assert.equal(await refused('backup', at('plain'), ...disk, '--lock-days', '3'), 'lock_failed')
    assert.deepEqual(await succeeds('list', at('plain')), [])
    await succeeds('backup', at('plain'), ...disk)
  })

  it('a locked point survives forget, prune and whoever deletes every version with the same credentials', async () => {
    const image = join(folder, 'locked.img')
    const bytes = positionedBytes(1, 8 * MIB)
    await writeFile(image, bytes)
    const disk = ['--machine', 'm', '--disk', `0=raw:${image}`]
    await succeeds('init', at('locked'))
    await succeeds('immutability', at('locked'), '--state', 'unlocked', '--days', '2')
    const point = await succeeds('backup', at('locked'), ...disk)
    const id = String(point['id'])
    assert.ok(globalThis.Date.parse(String(point['lockedUntil'])) > systemClock.nowMs() + 47 * 3600_000)
    assert.equal(await refused('forget', at('locked'), id), 'point_locked')
    await succeeds('immutability', at('locked'), '--state', 'locked', '--days', '2')
    assert.equal(await refused('immutability', at('locked'), '--state', 'disabled'), 'immutability_locked')
    assert.equal((await succeeds('prune', at('locked')))['deleted'], 0)

    const { Versions = [] } = await admin.send(new ListObjectVersionsCommand({ Bucket: 'locked' }))
    const deleted: string[] = []
    for (const { Key = '', VersionId } of Versions) {
      await admin.send(new DeleteObjectCommand({ Bucket: 'locked', Key, VersionId })).then(
        () => deleted.push(Key),
        (error: unknown) => assert.match(String(error), /AccessDenied|Forbidden|denied/i),
      )
      await admin.send(new DeleteObjectCommand({ Bucket: 'locked', Key })) // a marker hides nothing
    }
    assert.ok(deleted.length < Versions.length && deleted.every((key) => /\/log\/\d+$/.test(key)), deleted.join())
    await rm(join(folder, 'cache'), { recursive: true })
    await succeeds('restore', at('locked'), id, '--to', join(folder, 'restored'))
    const restored = await readFile(join(folder, 'restored', 'disk-0.raw'))
    assert.equal(Buffer.compare(restored, bytes), 0)
  })
})
