import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { checkCommand } from '#runtime'
import type { BackingImage } from '../driver.ts'
import { growImage, inspectImage, prepareImage, requireDiskSize } from './image.ts'

const MIB = 1 << 20
let folder: string

before(() => {
  folder = mkdtempSync(join(tmpdir(), 'hf-image-'))
})
after(() => rmSync(folder, { recursive: true }))

const at = (name: string): string => join(folder, name)
const into = (name: string) => (format: string) => at(`${name}.${format}`)

describe('prepareImage()', () => {
  it('makes empty images of the size and format asked for', async () => {
    for (const format of ['qcow2', 'raw'] as const) {
      const image = await prepareImage({ from: 'empty', sizeBytes: 3 * MIB + 512, format }, into('empty'))
      assert.deepEqual(image, { path: at(`empty.${format}`), format, made: true })
      assert.deepEqual(await inspectImage(image.path, format), { sizeBytes: 3 * MIB + 512, backing: undefined })
    }
  })

  it('never overwrites what is there', async () => {
    writeFileSync(at('there.qcow2'), 'precious')
    await assert.rejects(prepareImage({ from: 'empty', sizeBytes: MIB }, into('there')), { code: 'disk_in_use' })
    assert.equal(readFileSync(at('there.qcow2'), 'utf8'), 'precious')
  })

  it('refuses a given image that brings a backing file along, unless that is expected', async () => {
    writeFileSync(at('secret'), Buffer.alloc(MIB, 'of the host'))
    const path = at('hostile.qcow2')
    await checkCommand('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', at('secret'), '-F', 'raw', path])
    const given = { from: 'image', path, format: 'qcow2' } as const
    await assert.rejects(prepareImage(given, into('x')), { code: 'disk_unsupported' })
    assert.equal((await prepareImage({ ...given, allowBacking: true }, into('x'))).made, false)
    const elsewhere = at('elsewhere.qcow2')
    await checkCommand('qemu-img', ['create', '-q', '-f', 'qcow2', '-o', `data_file=${at('data')}`, elsewhere, '1M'])
    await assert.rejects(prepareImage({ ...given, path: elsewhere }, into('x')), { code: 'disk_unsupported' })
    const wrong = { from: 'image', path: at('secret'), format: 'qcow2' } as const
    await assert.rejects(prepareImage(wrong, into('x')))
  })

  it('puts an overlay on an image with its format named', async () => {
    writeFileSync(at('base.raw'), Buffer.alloc(2 * MIB, 'base'))
    const backing = { kind: 'image', path: at('base.raw'), format: 'raw' } as const
    const overlay = await prepareImage({ from: 'overlay', backing }, into('overlay'))
    const { stdout } = await checkCommand('qemu-img', ['info', '--output=json', overlay.path])
    const info = JSON.parse(stdout.toString('utf8'))
    assert.equal(info['backing-filename'], at('base.raw'))
    assert.equal(info['backing-filename-format'], 'raw')
    assert.equal(info['virtual-size'], 2 * MIB)
  })

  it('puts an overlay on a server that is not up yet, whatever its export is called', async () => {
    const exportName = 'a,b"\\ {}'
    const backing: BackingImage = { kind: 'nbd', socketPath: at('s,k'), exportName, reconnectDelaySeconds: 300 }
    const overlay = await prepareImage({ from: 'overlay', backing, sizeBytes: 5 * MIB }, into('served'))
    const { stdout } = await checkCommand('qemu-img', ['info', '--output=json', '-f', 'qcow2', overlay.path])
    const info = JSON.parse(stdout.toString('utf8'))
    assert.equal(info['virtual-size'], 5 * MIB)
    const node = JSON.parse(info['backing-filename'].replace(/^json:/, ''))
    assert.equal(node.file.export, exportName)
    assert.equal(node.file['reconnect-delay'], 300)
    assert.deepEqual(node.file.server, { type: 'unix', path: at('s,k') })
  })

  it('refuses impossible servers and sizes and leaves no file', async () => {
    const good = { kind: 'nbd', socketPath: '/s', exportName: 'x', reconnectDelaySeconds: 1 } as const
    const wrong: BackingImage[] = [
      { ...good, socketPath: 'relative' },
      { ...good, socketPath: `/${'x'.repeat(107)}` },
      { ...good, reconnectDelaySeconds: -1 },
      { ...good, reconnectDelaySeconds: 1.5 },
      { ...good, exportName: 'x'.repeat(4_097) },
    ]
    for (const backing of wrong)
      await assert.rejects(prepareImage({ from: 'overlay', backing, sizeBytes: MIB }, into('wrong')), {
        code: 'disk_unsupported',
      })
    const failing = { from: 'overlay', backing: { ...good, socketPath: at('nobody') } } as const
    await assert.rejects(prepareImage(failing, into('wrong')))
    assert.equal(existsSync(at('wrong.qcow2')), false)
  })
})

describe('requireDiskSize()', () => {
  it('takes whole sectors up to 64 TiB', () => {
    for (const size of [512, MIB, 64 * 1024 ** 4]) requireDiskSize(size)
    for (const size of [0, -512, 511, 513, 64 * 1024 ** 4 + 512, Number.NaN, Number.POSITIVE_INFINITY])
      assert.throws(() => requireDiskSize(size), { code: 'disk_unsupported' }, `${size}`)
  })
})

describe('growImage()', () => {
  it('keeps what is in the image', async () => {
    const content = Buffer.from(Array.from({ length: MIB / 4 }, (_, index) => index % 251))
    writeFileSync(at('grow.raw'), content)
    await growImage(at('grow.raw'), 'raw', MIB)
    const grown = readFileSync(at('grow.raw'))
    assert.equal(grown.length, MIB)
    assert.deepEqual(grown.subarray(0, content.length), content)
    assert.ok(grown.subarray(content.length).every((byte) => byte === 0))
  })
})
