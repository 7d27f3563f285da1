/**
 * What a boot from a recovery point needs to be taken up again after any of our processes died: written before anything
 * else of it exists, kept until every disk is hydrated. While it exists the point must not be pruned (its repository
 * session is renewed by whoever serves), and the sockets that it names stay the same.
 */
import { readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { errnoOf } from '#base'
import { makeFolderDurable, replaceFile } from '#runtime'
import { TransferError } from '../errors.ts'

export type BootDisk = Readonly<{ lun: number; overlayPath: string; exportName: string }>

export type BootRecord = Readonly<{
  schema: 1
  machine: string
  /** Location of the store, for people and for resuming; never a secret. */
  store: string
  repository: string
  point: string
  socketPath: string
  disks: readonly BootDisk[]
  /** prepared: the overlays are whole. Before that a resume makes them anew. */
  step: 'begun' | 'prepared'
}>

function pathOf(folder: string): string {
  return join(folder, 'boot.json')
}

export async function readBoot(folder: string): Promise<BootRecord | undefined> {
  try {
    const record = JSON.parse(await readFile(pathOf(folder), 'utf8')) as Partial<BootRecord>
    if (record.schema === 1) return record as BootRecord
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined
    if (!(error instanceof SyntaxError)) throw error
  }
  throw new TransferError('boot_record_damaged', `The record of a boot in ${folder} cannot be read.`, {
    facts: { folder },
    hint: 'Power the machine off, delete it, and boot the point again: nothing but this boot’s own writes is lost.',
  })
}

export async function writeBoot(folder: string, record: BootRecord): Promise<void> {
  await makeFolderDurable(folder)
  await replaceFile(pathOf(folder), [Buffer.from(JSON.stringify(record, null, 2))])
}

export async function removeBoot(folder: string): Promise<void> {
  await rm(pathOf(folder), { force: true })
}
