/** The bytes of a small file that a point keeps beside its disks. */
import { type AttachmentRecord, type ContentHash, type Repository } from '#engine/repository'

/** @throws chunk_missing, chunk_corrupt */
export async function readAttachment(repository: Repository, attachment: AttachmentRecord): Promise<Uint8Array> {
  const reader = await repository.chunkReader()
  const parts: Uint8Array[] = []
  for (const chunk of attachment.chunks)
    parts.push(await reader.read(Buffer.from(chunk, 'hex') as Uint8Array as ContentHash))
  return Buffer.concat(parts)
}
