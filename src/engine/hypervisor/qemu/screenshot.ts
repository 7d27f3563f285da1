/**
 * What the guest's display shows, as PNG. QEMU writes the file itself, into the machine's runtime folder; it is removed
 * again. A crash of ours leaves one file there, which the next screenshot or start replaces.
 */
import { open, rm } from 'node:fs/promises'
import { isHoldfastError, MIB } from '#base'
import type { Screenshot } from '../driver.ts'
import { HypervisorError } from '../errors.ts'
import type { QmpClient } from '../qmp/client.ts'
import { encodePng, parsePpm, pngSize } from './png.ts'

/** An uncompressed 8K display has 100 MB. */
const FILE_BYTES_MAX = 128 * MIB

async function readBounded(path: string): Promise<Buffer> {
  const handle = await open(path, 'r')
  try {
    const { size } = await handle.stat()
    if (size > FILE_BYTES_MAX)
      throw new HypervisorError('qmp_protocol_violation', `A screenshot of ${size} bytes is not believable.`)
    return await handle.readFile()
  } finally {
    await handle.close()
  }
}

async function dumpPng(qmp: QmpClient, path: string): Promise<Buffer> {
  try {
    await qmp.execute('screendump', { filename: path, format: 'png' })
    return await readBounded(path)
  } catch (error) {
    if (!isHoldfastError(error, 'qmp_command_failed')) throw error // built without libpng, or before 7.1: the older format
    await qmp.execute('screendump', { filename: path })
    return encodePng(parsePpm(await readBounded(path)))
  }
}

/** `path` is a scratch file that QEMU may write and we may read. */
export async function takeScreenshot(qmp: QmpClient, path: string): Promise<Screenshot> {
  await rm(path, { force: true })
  try {
    const png = await dumpPng(qmp, path)
    return { ...pngSize(png), png }
  } finally {
    await rm(path, { force: true })
  }
}
