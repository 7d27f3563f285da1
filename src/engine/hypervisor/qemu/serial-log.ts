/** Reads the end of the guest's serial output: the log of this run, and before it what the supervisor rotated away. */
import { open } from 'node:fs/promises'
import { errnoOf } from '#base'
import type { SerialLog } from '../driver.ts'

/** The last `bytesMax` bytes of the file, and whether there are more. An absent file is empty. */
async function readTail(path: string, bytesMax: number): Promise<SerialLog> {
  let handle
  try {
    handle = await open(path, 'r')
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return { bytes: Buffer.alloc(0), truncated: false }
    throw error
  }
  try {
    const { size } = await handle.stat()
    const length = Math.min(size, bytesMax)
    const buffer = Buffer.alloc(length)
    const { bytesRead } = await handle.read(buffer, 0, length, size - length)
    return { bytes: buffer.subarray(0, bytesRead), truncated: size > length }
  } finally {
    await handle.close()
  }
}

/** At most `bytesMax` bytes. A rotation in between may cost some bytes or show some twice; it is a log. */
export async function readSerialLog(path: string, bytesMax: number): Promise<SerialLog> {
  const current = await readTail(path, bytesMax)
  const left = bytesMax - current.bytes.length
  const older = await readTail(`${path}.old`, left)
  return { bytes: Buffer.concat([older.bytes, current.bytes]), truncated: current.truncated || older.truncated }
}
