/**
 * Writes back what the host's page cache holds of the images, from outside QEMU. `stop` flushes them all while the guest
 * stands still, and a flush by QEMU's monitor holds its main loop; an fsync of ours disturbs neither, and what it wrote
 * need not be written again. An optimisation: an image that cannot be opened here (another host's, O_DIRECT, not ours to
 * read) is left to QEMU.
 */
import { open } from 'node:fs/promises'

export async function syncImages(disks: readonly Readonly<{ imagePath: string }>[]): Promise<void> {
  await Promise.allSettled(
    disks.map(async ({ imagePath }) => {
      const handle = await open(imagePath, 'r')
      try {
        await handle.datasync()
      } finally {
        await handle.close()
      }
    }),
  )
}
