NAME=$1; export RATIO=$2 ANCHOR=$3 OMP_NUM_THREADS=$4 JUDGES=${JUDGES:-RUNS/sel/judge[56].pt}
export CATGAN_CACHE_DIR=RUNS/cache PYTHONPATH=${CODE:-RUNS/code60}/src
cd ${CODE:-RUNS/code60}
exec nice MAIN/.venv/bin/python -m catgan train RUNS/afhq128 --from ${FROM:-bundled} -o RUNS/$NAME --set network.eye_heads=true \
 --set network.feature_resolution=256 --set training.images=1000000 --set loss.penalty=0.5 \
 --set optimizer.generator_freeze_images=${FREEZE:-512} --set optimizer.generator_ramp_images=${RAMP:-1024} \
 --set optimizer.generator_learning_rate=${LR:-3e-4} --set optimizer.discriminator_learning_rate=${DLR:-3e-4} \
 ${EXTRA} --set training.ema_half_life=${EMA:-4000} --set training.early_stopping_images=0 --set output.checkpoint_images=${CP:-4096} > RUNS/$NAME.log 2>&1
