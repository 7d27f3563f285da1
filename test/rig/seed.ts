/** A machine's seed as Holdfast writes it: JSON in an image labelled cidata (NoCloud). */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { checkCommand } from '#runtime'

export const SEED_KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHoldfastHoldfastHoldfastHoldfastHoldfa me@here'
/** Of "Hello world!". */
export const SEED_HASH =
  '$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1'

/** Path of an image in the folder that makes a machine `name`, with a user `admin` of two keys. */
export async function seedImage(folder: string, name: string, userData: string): Promise<string> {
  const admin = {
    name: 'admin',
    groups: ['adm'],
    shell: '/bin/bash',
    lock_passwd: false,
    passwd: SEED_HASH,
    ssh_authorized_keys: [SEED_KEY, `${SEED_KEY}2`],
  }
  const files = {
    'meta-data': `${JSON.stringify({ 'instance-id': `id-${name}`, 'local-hostname': name })}\n`,
    'vendor-data': `#cloud-config\n${JSON.stringify({ hostname: name, users: [admin] })}\n`,
    'user-data': userData,
  }
  for (const [file, text] of Object.entries(files)) await writeFile(join(folder, file), text)
  const image = join(folder, `${name}.iso`)
  const paths = Object.keys(files).map((file) => join(folder, file))
  await checkCommand('genisoimage', ['-quiet', '-output', image, '-volid', 'cidata', '-joliet', '-rock', ...paths])
  return image
}
