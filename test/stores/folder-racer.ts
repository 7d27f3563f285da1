/** One of several processes that put the same keys: `folder-racer.ts FOLDER WRITER`; puts what its parent names, and says how it ended. */
import { FolderStore } from '#engine/repository'
import { positionedBytes } from '../../src/engine/repository/blob-store.contract.ts'

const [folder = '', writer = '0'] = process.argv.slice(2)
const store = await FolderStore.open(folder)
process.on('message', (key) => {
  void store
    .put(String(key), [positionedBytes(Number(writer), 5000)])
    .then((outcome) => process.send?.(outcome))
    .catch((error: unknown) => process.send?.(String(error)))
})
process.send?.('ready')
