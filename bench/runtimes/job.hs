{-# LANGUAGE BangPatterns #-}
-- SPDX-License-Identifier: MIT
-- GHC: a map in the heap, changed between forks.
module Main (main) where

import Control.Concurrent (threadDelay)
import Control.Monad (forM_, unless)
import qualified Data.IntMap.Strict as Map
import Data.List (foldl')
import System.Environment (lookupEnv)
import System.Exit (ExitCode (..), exitWith)
import System.IO
import System.Posix.Process

data Item = Item !Int !Int

setting :: String -> String -> IO String
setting name other = maybe other id <$> lookupEnv name

check :: Map.IntMap Item -> Int
check = Map.foldlWithKey' (\ !s k (Item a b) -> (s * 33 + k + a + b) `mod` 1000000007) 0

change :: Int -> Int -> Int -> Map.IntMap Item -> Map.IntMap Item
change count first step m = foldl' (\ !n k -> Map.insert k (Item (k + first) 7) n) m [first, first + step .. count - 1]

main :: IO ()
main = do
  mib <- read <$> setting "MB" "600"
  forks <- read <$> setting "FORKS" "5"
  pause <- read <$> setting "PAUSE" "0.1" :: IO Double
  hSetBuffering stdout LineBuffering
  let count = mib * 4600 :: Int
      start = foldl' (\ !m k -> Map.insert k (Item k (k + 1)) m) Map.empty [0 .. count - 1]
      go round' !m
        | round' == forks = putStrLn ("end " ++ show (check m))
        | otherwise = do
            hFlush stdout
            let right = if round' == 0 then ExitSuccess else ExitFailure round'
            pid <- forkProcess $ do
              putStrLn ("child " ++ show round' ++ " " ++ show (check (change count round' 2000 m)))
              hFlush stdout
              exitWith right
            status <- getProcessStatus True False pid
            unless (status == Just (Exited right)) $ error ("child: " ++ show status)
            let new = change count round' 1000 m
            putStrLn ("parent " ++ show round' ++ " " ++ show (check new))
            threadDelay (truncate (pause * 1e6))
            go (round' + 1) new
  forM_ [start] (go (0 :: Int))
