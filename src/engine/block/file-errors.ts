/** Translates what the operating system says about a file into a BlockError. */
import { errnoOf, messageOf } from '#base'
import { BlockError } from './errors.ts'

export type FileAct = 'open' | 'read' | 'write' | 'flush' | 'create'

/** The BlockError for a failed `act` on `path`; an error that is one already is passed through. */
export function fileError(act: FileAct, path: string, cause: unknown): BlockError {
  if (cause instanceof BlockError) return cause
  const errno = errnoOf(cause)
  const details = { facts: { path, errno }, cause }
  if (errno === 'ENOENT') return new BlockError('image_not_found', `There is no file ${path}.`, details)
  if (errno === 'EEXIST') return new BlockError('target_exists', `The file ${path} exists already.`, details)
  if (errno === 'EBUSY' || errno === 'ETXTBSY')
    return new BlockError('image_in_use', `${path} is in use by another program.`, { ...details, retry: 'later' })
  if (errno === 'ENOSPC' || errno === 'EDQUOT' || errno === 'EFBIG') {
    const hint = 'Free space on that file system, or choose another folder.'
    return new BlockError('target_full', `No space is left for ${path}.`, { ...details, retry: 'later', hint })
  }
  const hint = errno === 'EACCES' || errno === 'EPERM' ? 'Run Holdfast as a user that may use this file.' : undefined
  return new BlockError('block_io_error', `Could not ${act} ${path}: ${messageOf(cause)}`, { ...details, hint })
}
