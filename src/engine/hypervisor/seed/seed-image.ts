/**
 * The seed of a machine: a small read-only ISO 9660 image labelled `cidata`, where cloud-init (data source NoCloud) and
 * cloudbase-init find what a machine is to become at its first boot. What stands in it may be secret (a password's hash, a
 * user's own script): the image and every file on the way to it are the owner's alone.
 *
 * A crash leaves a folder `.seed-*` beside the image, which the next making removes; an image that has its name is whole.
 */
import { chmod, mkdtemp, open, readdir, rename, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { checkCommand, syncFolder } from '#runtime'

/** By file name: `meta-data`, `user-data`, `vendor-data`, `network-config`. */
export type SeedFiles = Readonly<Record<string, string>>

const NAME = /^[a-z][a-z0-9-]{0,30}$/
const DRAFT = '.seed-'

async function removeDrafts(folder: string): Promise<void> {
  for (const name of await readdir(folder))
    if (name.startsWith(DRAFT)) await rm(join(folder, name), { recursive: true, force: true })
}

/** Writes the image, in place of one that is there. @throws CommandError `command_missing`, `command_failed` */
export async function writeSeed(path: string, files: SeedFiles): Promise<void> {
  const folder = dirname(path)
  await removeDrafts(folder)
  const work = await mkdtemp(join(folder, DRAFT))
  try {
    const paths: string[] = []
    for (const [name, text] of Object.entries(files)) {
      if (!NAME.test(name)) throw new TypeError(`A file of a seed cannot be named ${JSON.stringify(name)}`)
      paths.push(join(work, name))
      await writeFile(join(work, name), text, { mode: 0o600, flag: 'wx' })
    }
    const image = join(work, 'image')
    await checkCommand('genisoimage', ['-quiet', '-output', image, '-volid', 'cidata', '-joliet', '-rock', ...paths])
    await chmod(image, 0o600)
    const handle = await open(image, 'r')
    await handle.sync()
    await handle.close()
    await rename(image, path)
    await syncFolder(folder)
  } finally {
    await rm(work, { recursive: true, force: true })
  }
}
