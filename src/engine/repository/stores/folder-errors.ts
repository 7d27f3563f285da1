/** What the errno of a failed file operation means for a store, in the user's words and with a remedy. */
import { errnoOf, messageOf } from '#base'
import { StoreError } from '../errors.ts'

/** How the store was being used when the operation failed. */
export type FolderUse = 'read' | 'write'

const NO_SPACE = new Set(['ENOSPC', 'EDQUOT'])
const NOT_ALLOWED = new Set(['EACCES', 'EPERM', 'EROFS'])
const NO_HARD_LINKS = new Set(['EPERM', 'ENOSYS', 'ENOTSUP', 'EOPNOTSUPP', 'EMLINK'])
/** Pressure on the machine that passes by itself. */
const PASSING = new Set(['EAGAIN', 'EINTR', 'EMFILE', 'ENFILE', 'ENOMEM', 'EBUSY'])

/** Translates; what is a StoreError already passes. */
export function folderError(cause: unknown, use: FolderUse, location: string, key?: string): unknown {
  if (cause instanceof StoreError) return cause
  const errno = errnoOf(cause)
  if (errno === undefined) return cause
  const facts = { location, key, errno }
  const syscall = cause instanceof Error && 'syscall' in cause ? cause.syscall : undefined
  if (NO_SPACE.has(errno)) {
    return new StoreError('store_full', `The file system of ${location} has no space left.`, {
      facts,
      retry: 'later',
      hint: `Forget points that are not needed and run "holdfast repo prune ${location}": both work on a full store. Or enlarge the file system.`,
      cause,
    })
  }
  if (syscall === 'link' && NO_HARD_LINKS.has(errno)) {
    return new StoreError('store_location_invalid', `The file system of ${location} cannot make hard links.`, {
      facts,
      hint: 'Holdfast creates objects by hard link so that none is ever replaced. Use ext4, XFS, Btrfs, ZFS or NFS.',
      cause,
    })
  }
  if (NOT_ALLOWED.has(errno)) return notAllowed(cause, errno, use, location, key)
  return new StoreError('store_unavailable', `${location} failed: ${messageOf(cause)}`, {
    facts,
    retry: PASSING.has(errno) ? 'now' : 'later',
    hint: errno === 'EIO' ? 'The disk or its connection reports errors: look into the kernel log.' : undefined,
    cause,
  })
}

function notAllowed(cause: unknown, errno: string, use: FolderUse, location: string, key?: string): StoreError {
  const facts = { location, key, errno }
  if (use === 'read') {
    return new StoreError('store_unavailable', `The user that runs Holdfast may not read ${location}.`, {
      facts,
      retry: 'later',
      hint: 'Run as the user that owns the folder, or grant that user access.',
      cause,
    })
  }
  return new StoreError('store_read_only', `${location} cannot be written.`, {
    facts,
    retry: 'later',
    hint:
      errno === 'EROFS'
        ? 'Its file system is mounted read-only: after a disk error, or on purpose. Remount it writable.'
        : 'Run as the user that owns the folder, or grant that user write access.',
    cause,
  })
}

/** The store's own folder is gone, or another stands in its place: most often a file system that was unmounted. */
export function folderGone(location: string, cause?: unknown): StoreError {
  return new StoreError('store_unavailable', `The folder ${location} is no longer the one that was opened.`, {
    facts: { location },
    retry: 'later',
    hint: 'Mount the file system that holds it again.',
    cause,
  })
}
