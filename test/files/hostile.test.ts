/** Images with random damage: reading them ends, in time, with what is left or with a typed error, never in any other way. */
import assert from 'node:assert/strict'
import { mkdir, readFile, rename, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { isHoldfastError, MIB, SeededRandom } from '#base'
import { MemoryDevice } from '#engine/block'
import { type FileTree, openFileSystems } from '#engine/transfer'
import { checkCommand, systemClock } from '#runtime'
import {
  addCrowd,
  addLinks,
  cannotMountNtfs,
  makeBtrfs,
  makeExt,
  makeNtfs,
  makeTree,
  makeXfs,
  temporaryWork,
} from './make-image.ts'

const ROUNDS = Number(process.env['HOLDFAST_FUZZ_ROUNDS'] ?? 40)
const ROUND_MS_MAX = 20_000
const READ_BYTES_MAX = 32 * 1024 * 1024

/**
 * Reads everything there is, as far as a patient user would: each folder once, and a bounded number of bytes. Says whether a
 * damaged file was met.
 */
async function readAll(tree: FileTree): Promise<boolean> {
  const seen = new Set<string>()
  const folders = ['/']
  let bytes = 0
  let meetsDamage = false
  for (let path = folders.pop(); path !== undefined; path = folders.pop()) {
    const key = await tree.keyOf(path)
    if (seen.has(key)) continue
    seen.add(key)
    for (const entry of await tree.list(path)) {
      const inside = `${path === '/' ? '' : path}/${entry.name}`
      if (entry.name.includes('/') || entry.name.includes('\0')) continue
      if (entry.kind === 'damaged') meetsDamage = true
      if (entry.kind === 'folder') folders.push(inside)
      if (entry.kind !== 'file') continue
      for await (const piece of tree.readPieces(inside)) {
        bytes += piece.data.length
        if (bytes > READ_BYTES_MAX) return meetsDamage
      }
    }
  }
  return meetsDamage
}

type Patch = Readonly<{ at: number; byte: number }>

/** Changes to a few bytes, mostly where structures are: in sectors that hold neither zeros, nor 0xFF (an empty log), nor file content. */
function damageOf(bytes: Buffer, random: SeededRandom, places: readonly number[]): Patch[] {
  return Array.from({ length: random.below(6) + 1 }, () => {
    const at = random.pick(places) + random.below(512)
    const choices = [random.below(256), 0, 0xff, bytes.readUInt8(at) ^ (1 << random.below(8))]
    return { at, byte: random.pick(choices) }
  })
}

function structurePlaces(bytes: Buffer): number[] {
  const places: number[] = []
  for (let at = 0; at + 512 <= bytes.length; at += 512) {
    const sector = bytes.subarray(at, at + 512)
    if (sector.toString('latin1', 0, 4) !== 'HFsd' && sector.some((byte) => byte !== 0 && byte !== 0xff))
      places.push(at)
  }
  return places
}

/** Reads the device as it is now; whether anything was refused. Any error but a typed one fails the test. */
async function isRefused(device: MemoryDevice, what: string): Promise<boolean> {
  const startMs = systemClock.monotonicMs()
  try {
    const { fileSystems, refused } = await openFileSystems(device)
    let meetsDamage = refused.length > 0
    for (const { root } of fileSystems) if (await readAll(root)) meetsDamage = true
    return meetsDamage
  } catch (error) {
    const isTyped = isHoldfastError(error) && error.code.startsWith('files_')
    assert.ok(isTyped, `${what}: ${error instanceof Error ? error.stack : String(error)}`)
    return true
  } finally {
    assert.ok(systemClock.monotonicMs() - startMs < ROUND_MS_MAX, `${what} took too long`)
  }
}

/** CRC-32C, bit by bit. */
function crc32c(bytes: Buffer): number {
  let value = 0xffff_ffff
  for (const byte of bytes) {
    value ^= byte
    for (let bit = 0; bit < 8; bit += 1) value = (value & 1) === 1 ? (value >>> 1) ^ 0x82f6_3b78 : value >>> 1
  }
  return ~value >>> 0
}

/** What a checksum would catch is no test of what is behind it: nodes of Btrfs get right ones again. */
function sumAgain(image: Buffer, patches: readonly Patch[]): Patch[] {
  const nodeBytes = 16_384
  const repaired: Patch[] = []
  for (const { at } of patches) {
    const isSuper = at >= 65_536 && at < 65_536 + 4096
    const [start, length] = isSuper ? [65_536, 4096] : [Math.floor(at / nodeBytes) * nodeBytes, nodeBytes]
    const node = Buffer.from(image.subarray(start, start + length))
    if (node.length < length) continue
    for (const patch of patches) if (patch.at >= start && patch.at < start + length) node[patch.at - start] = patch.byte
    const sum = Buffer.alloc(4)
    sum.writeUInt32LE(crc32c(node.subarray(32)))
    repaired.push(...Array.from(sum, (byte, i) => ({ at: start + i, byte })))
  }
  return repaired
}

async function survive(
  image: Buffer,
  seed: number,
  places = structurePlaces(image),
  more: (image: Buffer, patches: readonly Patch[]) => readonly Patch[] = () => [],
): Promise<void> {
  const device = MemoryDevice.from(image)
  let refusals = 0
  for (let round = 0; round < ROUNDS; round += 1) {
    const damage = damageOf(image, new SeededRandom(seed * 100_000 + round), places)
    const patches = [...damage, ...more(image, damage)]
    for (const { at, byte } of patches) await device.write(at, Buffer.of(byte))
    if (await isRefused(device, `seed ${seed}, round ${round}`)) refusals += 1
    for (const { at } of patches) await device.write(at, image.subarray(at, at + 1))
  }
  assert.ok(refusals > 0, 'no damage was ever seen: it was put in the wrong places')
  assert.equal(await isRefused(device, 'the undamaged image'), false)
}

describe('reading a damaged file system', () => {
  for (const [index, options] of [
    ['-t', 'ext4', '-O', 'inline_data', '-I', '256'],
    ['-t', 'ext2', '-b', '1024'],
  ].entries()) {
    it(`ends in a typed error at worst (mke2fs ${options.join(' ')})`, async () => {
      await using work = await temporaryWork()
      const [folder, image] = [join(work.path, 'in'), join(work.path, 'image')]
      await mkdir(folder)
      await makeTree(folder)
      await addLinks(folder)
      await makeExt(image, folder, 8, [...options, '-N', '128'])
      await survive(await readFile(image), index + 1)
    })
  }

  it('ends in a typed error at worst (FAT12)', async () => {
    await using work = await temporaryWork()
    const [folder, image] = [join(work.path, 'in'), join(work.path, 'image')]
    await mkdir(folder)
    await makeTree(folder)
    await checkCommand('/usr/sbin/mkfs.vfat', ['-C', '-F', '12', '-s', '16', image, '20480'])
    await checkCommand('mcopy', ['-s', '-i', image, join(folder, 'etc'), join(folder, 'sparse'), '::/'])
    await survive(await readFile(image), 3)
  })

  it('ends in a typed error at worst (NTFS)', { skip: cannotMountNtfs() }, async () => {
    await using work = await temporaryWork()
    const image = await makeNtfs(work, 8, 512, async (mountpoint) => {
      await makeTree(mountpoint)
      await addCrowd(mountpoint, 60)
    })
    await survive(await readFile(image), 4)
  })

  for (const [index, options] of [
    ['-m', 'crc=0', '-b', 'size=1024'],
    ['-m', 'rmapbt=1', '-n', 'size=8192'],
  ].entries()) {
    it(`ends in a typed error at worst (mkfs.xfs ${options.join(' ')})`, async () => {
      await using work = await temporaryWork()
      const [folder, image] = [join(work.path, 'in'), join(work.path, 'image')]
      await mkdir(folder)
      await makeTree(folder)
      await rename(join(folder, 'Ünïcödé and a rather long name.txt'), join(folder, 'plain'))
      await addLinks(folder)
      await addCrowd(folder, 60)
      await makeXfs(image, folder, 40, options)
      await survive(await readFile(image), 6 + index)
    })
  }

  it('ends in a typed error at worst (Btrfs)', async () => {
    await using work = await temporaryWork()
    const [folder, image] = [join(work.path, 'in'), join(work.path, 'image')]
    await mkdir(folder)
    await makeTree(folder)
    await addLinks(folder)
    await addCrowd(folder, 60)
    await makeBtrfs(image, folder, 128, ['-n', '16384', '-m', 'single', '-d', 'single'])
    await survive(await readFile(image), 8, undefined, sumAgain)
  })

  const TABLES = {
    MBR: 'label: dos\nstart=1MiB, size=2MiB, type=83\nstart=4MiB, type=5\nstart=5MiB, size=2MiB, type=83\n',
    GPT: 'label: gpt\nstart=1MiB, size=2MiB\nstart=5MiB, size=2MiB\n',
  }
  for (const [scheme, script] of Object.entries(TABLES)) {
    it(`ends in a typed error at worst (${scheme})`, async () => {
      await using work = await temporaryWork()
      const image = join(work.path, 'image')
      await writeFile(image, '')
      await truncate(image, 8 * MIB)
      await checkCommand('/usr/sbin/sfdisk', ['-q', image], { input: script })
      const bytes = await readFile(image)
      const places = structurePlaces(bytes)
      for (const offset of [MIB, 5 * MIB]) {
        await checkCommand('/usr/sbin/mke2fs', ['-q', '-F', '-t', 'ext2', '-E', `offset=${offset}`, image, '2M'])
      }
      await survive(await readFile(image), 5, places)
    })
  }
})
