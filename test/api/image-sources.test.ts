/** Images of blobs: every format that is read, and none that refers to another file. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { copyFile, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { promisify } from 'node:util'
import { KIB, MIB, must } from '#base'
import { VERSION } from './api-world.ts'
import { BlobClient } from './blob-client.ts'
import { assertSameBytes, type Failure, patchyDisk, qemuImg } from './disk-world.ts'
import { ImageWorld } from './image-world.ts'

const run = promisify(execFile)
const BYTES = 4 * MIB

describe('An image of a blob', () => {
  let world: ImageWorld
  let blobs: BlobClient
  let raw = ''
  const content = patchyDisk(6, BYTES)
  const path = (name: string): string => join(world.disks.api.home.folder, name)
  const url = (name: string): string => `${world.disks.api.record.endpoint}/acct1/vhds/${name}`

  before(async () => {
    world = await ImageWorld.make()
    const account = `${world.disks.group}/providers/Microsoft.Storage/storageAccounts/acct1`
    const body = { location: 'eastus', kind: 'StorageV2', sku: { name: 'Standard_LRS' } }
    assert.equal((await world.disks.ask('PUT', `${account}?${VERSION}`, body)).status, 200)
    const keys = await world.disks.ask<{ keys: { value: string }[] }>('POST', `${account}/listKeys?${VERSION}`)
    blobs = new BlobClient(world.disks, 'acct1', must(keys.body.keys[0], 'There is a key').value)
    assert.equal((await blobs.ask('PUT', '/vhds?restype=container')).status, 201)
    raw = path('source.raw')
    await writeFile(raw, content)
  })
  after(() => world[Symbol.asyncDispose]())

  async function upload(name: string, file: string): Promise<void> {
    const type = { 'x-ms-blob-type': 'BlockBlob', 'content-type': 'application/octet-stream' }
    const made = await blobs.ask('PUT', `/vhds/${name}`, await readFile(file), type)
    assert.equal(made.status, 201, made.text)
  }

  const image = (name: string, blob: string) => world.of(name, { blobUri: url(blob) })

  it('takes fixed and dynamic VHD, VHDX, VMDK, qcow2, and raw by its name, byte for byte', async () => {
    for (const [name, format, options] of [
      ['fixed.vhd', 'vpc', 'subformat=fixed,force_size=on'],
      ['dynamic.vhd', 'vpc', 'subformat=dynamic,force_size=on'],
      ['disk.vhdx', 'vhdx', ''],
      ['disk.vmdk', 'vmdk', 'subformat=monolithicSparse'],
      ['stream.vmdk', 'vmdk', 'subformat=streamOptimized'],
      ['disk.qcow2', 'qcow2', ''],
      ['disk.img', 'raw', ''],
    ] as const) {
      const file = path(name)
      await qemuImg('convert', '-O', format, ...(options === '' ? [] : ['-o', options]), '-f', 'raw', raw, file)
      await upload(name, file)
      const short = name.replaceAll('.', '-')
      const made = await world.made(await image(short, name))
      assert.deepEqual(made.properties.storageProfile.osDisk['blobUri'], url(name))
      await world.disk(`of-${short}`, short)
      assertSameBytes(await world.disks.bytes(`of-${short}`), content, name)
    }
  })

  async function refused(name: string, blob: string): Promise<string> {
    const done = await world.end(await image(name, blob))
    assert.equal(done.status, 'Failed', JSON.stringify(done))
    assert.equal((await world.get(name)).properties.provisioningState, 'Failed')
    return done.error?.message ?? ''
  }

  it('never follows what an uploaded image refers to', async () => {
    const secret = path('secret.raw')
    await writeFile(secret, Buffer.alloc(MIB, 'secret of the host '))
    const over = path('over.qcow2')
    await qemuImg('create', '-q', '-f', 'qcow2', '-b', secret, '-F', 'raw', over, '1M')
    await upload('over.qcow2', over)
    assert.match(await refused('over', 'over.qcow2'), /refers to another file/)

    const external = path('external.qcow2')
    await qemuImg('create', '-q', '-f', 'qcow2', '-o', `data_file=${path('data')},data_file_raw=on`, external, '1M')
    await upload('external.qcow2', external)
    assert.match(await refused('external', 'external.qcow2'), /refers to another file/)

    const flat = path('flat.vmdk')
    await qemuImg('create', '-q', '-f', 'vmdk', '-o', 'subformat=monolithicFlat', flat, '1M')
    const text = (await readFile(flat, 'utf8')).replace('flat-flat.vmdk', secret)
    await writeFile(flat, text)
    await upload('flat.vmdk', flat)
    assert.match(await refused('flat', 'flat.vmdk'), /refers to another file|cannot|no image/)

    // An overlay on a base of the pool is an upload like any other.
    const backing = await world.diskBacking('of-disk-qcow2')
    await copyFile(backing.file, path('stolen.qcow2'))
    await upload('stolen.qcow2', path('stolen.qcow2'))
    assert.match(await refused('stolen', 'stolen.qcow2'), /refers to another file/)
  })

  it('says what is no image, what is not there, and what is no blob of ours', async () => {
    await writeFile(path('noise.vhd'), Buffer.alloc(64 * KIB, 'noise'))
    await upload('noise.vhd', path('noise.vhd'))
    assert.match(await refused('noise', 'noise.vhd'), /no image of a format/)
    await run('sh', ['-c', `gzip -c ${raw} > ${path('disk.gz')}`])
    await upload('disk.gz', path('disk.gz'))
    assert.match(await refused('zipped', 'disk.gz'), /gzip/)
    assert.match(await refused('missing', 'nothing.vhd'), /There is no file/)
    const foreign = await world.of('foreign', { blobUri: 'https://example.org/vhds/disk.vhd' })
    assert.deepEqual([foreign.status, (foreign.body as unknown as Failure).error.code], [400, 'InvalidParameter'])
  })

  it('that failed may be put again', async () => {
    const made = await world.made(await image('noise', 'fixed.vhd'))
    assert.equal(made.properties.provisioningState, 'Succeeded')
    assert.equal((await world.disks.ask('DELETE', `${world.id('zipped')}?${VERSION}`)).status, 202)
  })

  it('needs one source a disk, a system, and LUNs that differ', async () => {
    const blob = { blobUri: url('fixed.vhd') }
    const bad: (readonly [Record<string, unknown>, RegExp])[] = [
      [{ storageProfile: { osDisk: { osType: 'Linux', osState: 'Generalized' } } }, /needs one source/],
      [{ storageProfile: { osDisk: { osState: 'Generalized', ...blob } } }, /osType is required/],
      [{ storageProfile: { osDisk: { osType: 'Linux', ...blob } } }, /osState is required/],
      [{}, /needs sourceVirtualMachine/],
      [
        {
          storageProfile: {
            osDisk: { osType: 'Linux', osState: 'Generalized', ...blob },
            dataDisks: [
              { lun: 1, ...blob },
              { lun: 1, ...blob },
            ],
          },
        },
        /same lun/,
      ],
      [
        {
          storageProfile: {
            osDisk: { osType: 'Linux', osState: 'Generalized', ...blob },
            dataDisks: [{ lun: 64, ...blob }],
          },
        },
        /from 0 to 63/,
      ],
    ]
    for (const [properties, said] of bad) {
      const answer = await world.put('bad', properties)
      assert.equal(answer.status, 400, answer.text)
      assert.match(answer.text, said)
    }
    const field = await world.put('bad', { storageProfile: { osDisk: { ...blob, diskEncryptionSet: { id: '/x' } } } })
    assert.match(field.text, /UnsupportedField/)
  })
})
