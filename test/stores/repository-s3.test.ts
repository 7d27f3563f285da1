/** A whole repository in an S3 bucket, plain and with object lock, through the program as a user runs it. */
import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3'
import { MIB } from '#base'
import { type CommandResult, runCommand } from '#runtime'
import { positionedBytes } from '../../src/engine/repository/blob-store.contract.ts'
import { type Rgw, rgwMissing, startRgw } from './rgw.ts'

const PROGRAM = resolve(import.meta.dirname, '../../bin/holdfast')
const missing = rgwMissing()
if (missing !== undefined) console.log(`A repository on a real S3 server is not tested: ${missing}`)

describe('A repository on a Ceph RADOS Gateway', { skip: missing ?? false }, () => {
  let rgw: Rgw
  let folder: string

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'holdfast-s3-'))
    rgw = await startRgw()
    const credentials = { accessKeyId: rgw.accessKey, secretAccessKey: rgw.secretKey }
    const admin = new S3Client({ endpoint: rgw.endpoint, region: 'us-east-1', forcePathStyle: true, credentials })
    await admin.send(new CreateBucketCommand({ Bucket: 'plain' }))
    await admin.send(new CreateBucketCommand({ Bucket: 'locked', ObjectLockEnabledForBucket: true }))
    admin.destroy()
  })

  after(async () => {
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
    return runCommand(PROGRAM, ['repo', ...args], { env, timeoutMs: 120_000 })
  }

  async function succeeds(...args: string[]): Promise<string> {
    const { exitCode, stdout, stderr } = await holdfast(...args)
    assert.equal(exitCode, 0, stderr)
    assert.doesNotMatch(stdout.toString('utf8') + stderr, new RegExp(rgw.secretKey))
    return stdout.toString('utf8')
  }

  for (const bucket of ['plain', 'locked']) {
    it(`a disk goes into the ${bucket} bucket, again after a change, and comes back as it was`, async () => {
      const store = `s3://${bucket}/site-a?endpoint=${rgw.endpoint}`
      const image = join(folder, `${bucket}.img`)
      const bytes = positionedBytes(1, 24 * MIB)
      await writeFile(image, bytes)
      await succeeds('init', store)
      await succeeds('backup', store, '--machine', 'm', '--disk', `0=raw:${image}`)
      bytes.set(positionedBytes(2, MIB), 5 * MIB)
      await writeFile(image, bytes)
      await succeeds('backup', store, '--machine', 'm', '--disk', `0=raw:${image}`)
      await succeeds('verify', store)
      await succeeds('verify', store, '--without-key')
      await succeeds('restore', store, 'latest', '--to', join(folder, `${bucket}-restored`))
      const restored = await readFile(join(folder, `${bucket}-restored`, 'disk-0.raw'))
      assert.equal(Buffer.compare(restored, bytes), 0)
      assert.notEqual((await holdfast('init', store)).exitCode, 0, 'a second repository in the same place')
    })
  }
})
