/** Image files as QEMU makes them, and as an attacker would. */
import assert from 'node:assert/strict'
import { copyFile, mkdir, open, readFile, stat, symlink, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { before, describe, it } from 'node:test'
import {
  type BlockSource,
  convertImage,
  createImage,
  createVhdTarget,
  exportImage,
  type ImageFormat,
  inspectImage,
  mapImage,
  openFileSource,
  openNbd,
  openQcow2Target,
  probeImageFormat,
  stampedBytes,
} from '#engine/block'
import { codeOf, endLater, run, testFolder } from './tools.ts'

const MIB = 1024 * 1024
const SIZE = 24 * MIB + 512
let folder = ''
/** The disk that all images of this file hold, and the raw file with it. */
const disk = Buffer.alloc(SIZE)
let rawFile = ''
const at = (name: string): string => join(folder, name)

before(async () => {
  folder = await testFolder()
  for (const [offset, length] of [
    [0, 70_000],
    [3 * MIB + 512, 2 * MIB],
    [SIZE - 1024, 1024],
  ] as const) {
    stampedBytes({ disk: 2, version: 7 }, offset, length).copy(disk, offset)
  }
  rawFile = at('disk.raw')
  await createImage(rawFile, 'raw', SIZE)
  const file = await open(rawFile, 'r+')
  await file.write(disk.subarray(0, 70_000), 0, 70_000, 0)
  await file.write(disk.subarray(3 * MIB, 6 * MIB), 0, 3 * MIB, 3 * MIB)
  await file.write(disk.subarray(SIZE - 1024), 0, 1024, SIZE - 1024)
  await file.close()
})

async function readAll(source: BlockSource): Promise<Buffer> {
  const bytes = Buffer.alloc(source.sizeBytes, 0xee)
  await source.read(0, bytes)
  return bytes
}

/** Reads an image as the engine does: in place where it can, else over NBD. */
async function readImage(path: string, format: ImageFormat): Promise<{ bytes: Buffer; kind: string }> {
  const mapped = await mapImage(path, format)
  if (mapped.kind === 'direct') {
    const source = await openFileSource({ path, sizeBytes: mapped.sizeBytes, map: mapped.map, reads: 'sync' })
    const bytes = await readAll(source)
    await source.close()
    return { bytes, kind: 'direct' }
  }
  const served = await exportImage(path, format)
  endLater(served.close)
  const bytes = await readAll(served.client)
  await served.close()
  return { bytes, kind: 'indirect' }
}

/** Says in both footers of a dynamic VHD who made it; the sum of their bytes is kept right (at 64, itself counted as zeros). */
async function markCreator(path: string, creator: string): Promise<void> {
  const file = await readFile(path)
  for (const footer of [file.subarray(0, 512), file.subarray(-512)]) {
    footer.write(creator, 28, 'latin1')
    footer.writeUInt32BE(0, 64)
    footer.writeUInt32BE(~footer.reduce((sum, byte) => sum + byte, 0) >>> 0, 64)
  }
  await writeFile(path, file)
}

describe('an image of every kind', () => {
  const kinds: readonly (readonly [string, ImageFormat, readonly string[], string])[] = [
    ['qcow2', 'qcow2', [], 'direct'],
    ['qcow2 of small clusters', 'qcow2', ['-o', 'cluster_size=4096'], 'direct'],
    ['qcow2 with extended L2', 'qcow2', ['-o', 'extended_l2=on,cluster_size=128k'], 'direct'],
    ['qcow2 of version 2', 'qcow2', ['-o', 'compat=0.10'], 'direct'],
    ['preallocated qcow2', 'qcow2', ['-o', 'preallocation=metadata'], 'direct'],
    ['compressed qcow2', 'qcow2', ['-c', '-o', 'compression_type=zstd'], 'indirect'],
    ['fixed VHD', 'vpc', ['-o', 'subformat=fixed,force_size=on'], 'direct'],
    ['dynamic VHD', 'vpc', ['-o', 'subformat=dynamic,force_size=on'], 'direct'],
    ['dynamic VHDX', 'vhdx', [], 'indirect'],
    ['VMDK', 'vmdk', [], 'indirect'],
    ['stream-optimised VMDK', 'vmdk', ['-o', 'subformat=streamOptimized'], 'indirect'],
  ]
  for (const [name, format, options, kind] of kinds) {
    it(`is recognised and read: ${name}`, async () => {
      const path = at(`${name.replaceAll(' ', '-')}.img`)
      await run('qemu-img', 'convert', '-f', 'raw', '-O', format, ...options, rawFile, path)
      assert.equal(await probeImageFormat(path), format)
      const info = await inspectImage(path, format)
      const read = await readImage(path, format)
      // VHDX rounds up to whole MiB; what is beyond the disk must be zeros.
      assert.ok(info.virtualSizeBytes >= SIZE && info.virtualSizeBytes <= 25 * MIB, `${info.virtualSizeBytes} bytes`)
      if (format !== 'vhdx') assert.equal(info.virtualSizeBytes, SIZE)
      assert.ok(read.bytes.subarray(0, SIZE).equals(disk), 'the bytes of the disk')
      assert.ok(read.bytes.subarray(SIZE).every((byte) => byte === 0))
      assert.equal(read.kind, kind)
      const served = await exportImage(path, format)
      endLater(served.close)
      assert.ok((await readAll(served.client)).subarray(0, SIZE).equals(disk), 'the bytes of the disk, by NBD')
      await served.close()
    })
  }

  it('is served whole: a dynamic VHD, also one of a maker whose geometry says less than its size', async () => {
    const path = at('served.vhd')
    await run('qemu-img', 'convert', '-f', 'raw', '-O', 'vpc', '-o', 'subformat=dynamic,force_size=on', rawFile, path)
    for (const creator of ['qem2', 'vpc ']) {
      await markCreator(path, creator)
      const served = await exportImage(path, 'vpc')
      try {
        assert.equal(served.client.sizeBytes, SIZE, creator)
        const bytes = Buffer.alloc(SIZE)
        await served.client.read(0, bytes)
        assert.ok(bytes.equals(disk), creator)
      } finally {
        await served.close()
      }
    }
  })

  it('is recognised and read: raw, sparse, of a size that is not whole sectors', async () => {
    const path = at('odd.raw')
    await run('cp', '--sparse=always', rawFile, path)
    await truncate(path, 3 * MIB + 1000)
    const mapped = await mapImage(path, 'raw')
    assert.ok(mapped.kind === 'direct')
    assert.equal(mapped.sizeBytes, 3 * MIB + 1024)
    const dataBytes = mapped.map.runs.reduce((sum, run) => sum + run.length, 0)
    assert.ok(dataBytes < MIB, `${dataBytes} bytes of data in a sparse file`)
    const { bytes } = await readImage(path, 'raw')
    assert.ok(bytes.subarray(0, 3 * MIB + 1000).equals(disk.subarray(0, 3 * MIB + 1000)))
    assert.ok(bytes.subarray(3 * MIB + 1000).every((byte) => byte === 0))
  })

  it('is not guessed to be raw when it is a container or an archive that is not read here', async () => {
    const path = at('foreign')
    for (const format of ['vdi', 'qed', 'qcow', 'parallels']) {
      await run('qemu-img', 'convert', '-f', 'raw', '-O', format, rawFile, path)
      assert.equal(await codeOf(probeImageFormat(path)), 'image_format_unknown', format)
    }
    await writeFile(path, 'an image')
    await run('gzip', '-f', path)
    assert.equal(await codeOf(probeImageFormat(`${path}.gz`)), 'image_format_unknown')
    assert.equal(await probeImageFormat(rawFile), 'raw')
  })

  it('is not opened as another kind than it is', async () => {
    const path = at('q.img')
    await createImage(path, 'qcow2', MIB)
    assert.equal(await codeOf(inspectImage(path, 'vmdk')), 'image_format_mismatch')
    assert.equal(await codeOf(inspectImage(rawFile, 'qcow2')), 'image_format_mismatch')
    assert.equal((await inspectImage(path, 'raw')).virtualSizeBytes, Math.ceil((await stat(path)).size / 512) * 512)
    assert.equal(await codeOf(inspectImage(at('none'), 'raw')), 'image_not_found')
    assert.equal(await codeOf(inspectImage(folder, 'raw')), 'image_invalid')
  })
})

describe('a hostile image', () => {
  it('cannot make us read another file through a backing file', async () => {
    const secret = at('secret')
    await writeFile(secret, Buffer.alloc(MIB, 0x53))
    for (const backing of [
      secret,
      'json:{"driver":"file","filename":"/etc/passwd"}',
      'nbd://127.0.0.1:9/x',
      'raw.img',
    ]) {
      const path = at('overlay.img')
      await run('rm', '-f', path)
      await run('qemu-img', 'create', '-q', '-u', '-f', 'qcow2', '-b', backing, '-F', 'raw', path, '1M')
      assert.equal(await codeOf(inspectImage(path, 'qcow2')), 'image_backing_refused', backing)
      assert.equal(await codeOf(mapImage(path, 'qcow2')), 'image_backing_refused', backing)
      assert.equal(
        await codeOf(convertImage({ path, format: 'qcow2' }, { path: at('out'), format: 'raw' })),
        'image_backing_refused',
      )
    }
  })

  it('may have a backing file only in the folders that are allowed, links resolved', async () => {
    const [bases, overlays] = [at('bases'), at('overlays')]
    await mkdir(bases)
    await mkdir(overlays)
    await copyFile(rawFile, join(bases, 'base.raw'))
    await symlink('/etc/passwd', join(bases, 'link.raw'))
    const overlayOf = async (name: string, backing: string): Promise<string> => {
      const path = join(overlays, name)
      await run('qemu-img', 'create', '-q', '-u', '-f', 'qcow2', '-b', backing, '-F', 'raw', path, String(SIZE))
      return path
    }
    const allowed = { allowBackingIn: [bases] }
    const good = await overlayOf('good', '../bases/base.raw')
    const info = await inspectImage(good, 'qcow2', allowed)
    assert.equal(info.backing?.format, 'raw')
    assert.equal((await mapImage(good, 'qcow2', allowed)).kind, 'indirect')
    const served = await exportImage(good, 'qcow2', allowed)
    endLater(served.close)
    assert.ok((await readAll(served.client)).equals(disk))
    await served.close()
    for (const [name, backing] of [
      ['link', '../bases/link.raw'],
      ['outside', '/etc/passwd'],
      ['up', '../bases/../secret'],
      ['self', '../bases'],
    ] as const) {
      assert.equal(
        await codeOf(inspectImage(await overlayOf(name, backing), 'qcow2', allowed)),
        'image_backing_refused',
        name,
      )
    }
    const unnamed = await overlayOf('unnamed', '../bases/base.raw')
    await run('qemu-img', 'rebase', '-u', '-f', 'qcow2', '-b', '', unnamed)
    const bytes = await readFile(unnamed)
    bytes.write('../bases/base.raw', 1000)
    bytes.writeBigUInt64BE(1000n, 8)
    bytes.writeUInt32BE(17, 16)
    await writeFile(unnamed, bytes)
    assert.equal(await codeOf(inspectImage(unnamed, 'qcow2', allowed)), 'image_backing_refused')
  })

  it('cannot keep its data in another file', async () => {
    const path = at('data-file.img')
    await run(
      'qemu-img',
      'create',
      '-q',
      '-f',
      'qcow2',
      '-o',
      `data_file=${at('data.raw')},data_file_raw=on`,
      path,
      '1M',
    )
    assert.equal(await codeOf(inspectImage(path, 'qcow2')), 'image_backing_refused')
    const split = at('split.vmdk')
    await run('qemu-img', 'create', '-q', '-f', 'vmdk', '-o', 'subformat=monolithicFlat', split, '1M')
    assert.equal(await codeOf(inspectImage(split, 'vmdk')), 'image_backing_refused')
    await writeFile(
      split,
      '# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\nRW 2048 FLAT "/etc/passwd" 0\n',
    )
    assert.equal(await codeOf(inspectImage(split, 'vmdk')), 'image_backing_refused')
  })

  it('cannot be a differencing VHD, VHDX or VMDK', async () => {
    const vhdx = at('diff.vhdx')
    await run('qemu-img', 'create', '-q', '-f', 'vhdx', vhdx, '1M')
    const bytes = await readFile(vhdx)
    const parameters = bytes.indexOf(Buffer.from('3767a1ca36fa434db3b633f0aa44e76b', 'hex'))
    const metadataAt = bytes.lastIndexOf(Buffer.from('metadata'), parameters)
    const flagsAt = metadataAt + bytes.readUInt32LE(parameters + 16) + 4
    bytes.writeUInt32LE(bytes.readUInt32LE(flagsAt) | 2, flagsAt)
    await writeFile(vhdx, bytes)
    assert.equal(await codeOf(inspectImage(vhdx, 'vhdx')), 'image_backing_refused')
    const parent = at('parent.vmdk')
    await run('qemu-img', 'create', '-q', '-f', 'vmdk', parent, '1M')
    const delta = at('delta.vmdk')
    await run('qemu-img', 'create', '-q', '-f', 'vmdk', '-b', parent, '-F', 'vmdk', delta)
    assert.equal(await codeOf(inspectImage(delta, 'vmdk')), 'image_backing_refused')
    // The same with the header pointing at an innocent descriptor elsewhere: QEMU would still look here.
    const hidden = await readFile(delta)
    const innocent = Buffer.alloc(20 * 512)
    innocent.write('# Disk DescriptorFile\nparentCID=ffffffff\n')
    hidden.writeBigUInt64LE(BigInt(Math.ceil(hidden.length / 512)), 28)
    await writeFile(delta, Buffer.concat([hidden, Buffer.alloc(-hidden.length & 511), innocent]))
    assert.equal(await codeOf(inspectImage(delta, 'vmdk')), 'image_backing_refused')
  })

  it('is named as encrypted, or as too large', async () => {
    const path = at('luks.img')
    const secret = [
      '--object',
      'secret,id=s,data=abc',
      '-o',
      'encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10',
    ]
    // qemu-img times itself while it derives the key and gives up on a busy machine ("Unable to get accurate CPU usage").
    const create = (): Promise<string> => run('qemu-img', 'create', '-q', '-f', 'qcow2', ...secret, path, '1M')
    for (let tries = 1; tries < 10; tries += 1)
      if (
        await create().then(
          () => true,
          () => false,
        )
      )
        break
    assert.equal(await codeOf(inspectImage(path, 'qcow2')), 'image_encrypted')
    const huge = at('huge.img')
    await run('qemu-img', 'create', '-q', '-f', 'qcow2', huge, '1M')
    const header = await readFile(huge)
    header.writeBigUInt64BE(2n ** 62n, 24)
    await writeFile(huge, header)
    assert.equal(await codeOf(inspectImage(huge, 'qcow2')), 'image_too_large')
  })

  it('ends in a typed error or is read, with any byte of its first KiB changed and at any length', async () => {
    const good = at('fuzz-good.img')
    await run('qemu-img', 'convert', '-f', 'raw', '-O', 'qcow2', rawFile, good)
    const bytes = await readFile(good)
    const path = at('fuzz.img')
    for (let count = 0; count < 24; count += 1) {
      const changed = Buffer.from(bytes)
      // The header, then the first- and second-level tables.
      const where = count < 12 ? 8 + count * 5 : 3 * 65_536 + (count - 12) * 5461
      changed[where] = (changed[where] ?? 0) ^ 0xa5
      await writeFile(path, count % 6 === 5 ? changed.subarray(0, 65_536 * count) : changed)
      const code = await codeOf(readImage(path, 'qcow2'))
      assert.match(code, /^(none|image_\w+|nbd_io_error|block_io_error)$/, `byte ${where}`)
    }
  })
})

describe('targets', () => {
  it('openQcow2Target() is written by several clients at once and closes clean', async () => {
    const path = at('restored.qcow2')
    const target = await openQcow2Target(path, SIZE)
    endLater(() => target.close())
    const second = await openNbd({ socketPath: target.socketPath, exportName: target.exportName })
    const pieces = Array.from({ length: Math.ceil(SIZE / MIB) }, (_, i) => disk.subarray(i * MIB, (i + 1) * MIB))
    await Promise.all(
      pieces.map(async (piece, i) => {
        const hasData = piece.some((byte) => byte !== 0)
        if (hasData) await (i % 2 === 0 ? target : second).write(i * MIB, piece)
        else await target.writeZeroes(i * MIB, piece.length)
      }),
    )
    assert.equal(await codeOf(inspectImage(path, 'qcow2')), 'image_in_use')
    await second.close()
    await target.close()
    await target.close()
    await run('qemu-img', 'check', '-q', '-f', 'qcow2', path)
    await run('qemu-img', 'compare', '-f', 'qcow2', '-F', 'raw', path, rawFile)
    assert.equal(await codeOf(openQcow2Target(path, SIZE)), 'target_exists')
  })

  it('createVhdTarget() makes a fixed VHD of the exact size that QEMU reads', async () => {
    const path = at('restored.vhd')
    const target = await createVhdTarget(path, SIZE)
    for (let offset = 0; offset < SIZE; offset += MIB) await target.write(offset, disk.subarray(offset, offset + MIB))
    await target.flush()
    await target.close()
    assert.equal((await stat(path)).size, SIZE + 512)
    assert.equal((await inspectImage(path, 'vpc')).virtualSizeBytes, SIZE)
    await run('qemu-img', 'compare', '-f', 'vpc', '-F', 'raw', path, rawFile)
    assert.ok((await readImage(path, 'vpc')).bytes.equals(disk))
  })

  it('a fixed VHD is read as its disk, though its guest wrote a footer of another size to its start', async () => {
    const path = at('tricky.vhd')
    const target = await createVhdTarget(path, MIB)
    const start = stampedBytes({ disk: 3, version: 1 }, 0, MIB)
    const other = at('other.vhd')
    await (await createVhdTarget(other, 2 * MIB)).close()
    ;(await readFile(other)).subarray(2 * MIB).copy(start)
    await target.write(0, start)
    await target.close()
    assert.ok((await readImage(path, 'vpc')).bytes.equals(start))
    const served = await exportImage(path, 'vpc')
    endLater(served.close)
    assert.ok((await readAll(served.client)).equals(start))
    await served.close()
  })

  it('convertImage() makes images of other formats and never replaces a file', async () => {
    const qcow2 = at('converted.qcow2')
    await convertImage({ path: rawFile, format: 'raw' }, { path: qcow2, format: 'qcow2' }, { compress: true })
    const vhd = at('converted.vhd')
    await convertImage({ path: qcow2, format: 'qcow2' }, { path: vhd, format: 'vpc' })
    assert.ok((await readImage(vhd, 'vpc')).bytes.equals(disk))
    assert.equal(
      await codeOf(convertImage({ path: qcow2, format: 'qcow2' }, { path: vhd, format: 'raw' })),
      'target_exists',
    )
    assert.equal((await inspectImage(vhd, 'vpc')).virtualSizeBytes, SIZE)
  })

  it('an image that a daemon holds for reading cannot be written to meanwhile', async () => {
    const path = at('held.qcow2')
    await createImage(path, 'qcow2', MIB)
    const served = await exportImage(path, 'qcow2')
    endLater(served.close)
    assert.equal(await codeOf(run('qemu-io', '-f', 'qcow2', '-c', 'write 0 512', path)), 'command_failed')
    await served.close()
    await run('qemu-io', '-f', 'qcow2', '-c', 'write 0 512', path)
  })
})
